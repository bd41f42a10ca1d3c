//! The disk proves its worth: a careful store survives every image, careless ones are caught.

use crate::storage::{Storage, sim::SimDisk};

/// What can be forgotten in the smallest store there is: two slots and a number that says which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Careless {
    Nothing,
    NoSyncBeforeTheRoot,
    NoSyncAfterTheRoot,
    NoDirectorySync,
    RootSharesItsSector,
}

/// Writes version after version, and marks each that is acknowledged.
fn write_versions(disk: &SimDisk, careless: Careless) {
    let file = disk.create("tmp-1").unwrap();
    file.allocate(4096).unwrap();
    file.sync().unwrap();
    disk.rename("tmp-1", "pages").unwrap();
    if careless != Careless::NoDirectorySync {
        disk.sync_dir().unwrap();
    }
    for version in 1..6_u8 {
        let slot = 1024 + 1024 * u64::from(version % 2);
        file.write_at(&[version; 1024], slot).unwrap();
        if careless != Careless::NoSyncBeforeTheRoot {
            file.sync().unwrap();
        }
        let sector = if careless == Careless::RootSharesItsSector { 8 } else { 512 };
        let root = [[version; 7].as_slice(), &[version.wrapping_mul(31)]].concat();
        file.write_at(&root, u64::from(version % 2) * sector).unwrap();
        if careless != Careless::NoSyncAfterTheRoot {
            file.sync().unwrap();
        }
        disk.mark(u64::from(version));
    }
}

/// The newest version whose root is whole; `Err` if its slot is not.
fn recover(disk: &SimDisk, careless: Careless) -> Result<u64, String> {
    let file = disk.open("pages").map_err(|error| error.to_string())?;
    let sector = if careless == Careless::RootSharesItsSector { 8 } else { 512 };
    let mut newest = 0;
    for place in 0..2 {
        let mut root = [0; 8];
        file.read_at(&mut root, place * sector).map_err(|error| error.to_string())?;
        let whole =
            root[..7].iter().all(|byte| *byte == root[0]) && root[7] == root[0].wrapping_mul(31);
        newest = newest.max(if whole { root[0] } else { 0 });
    }
    let mut slot = [0; 1024];
    let place = 1024 + 1024 * u64::from(newest % 2);
    file.read_at(&mut slot, place).map_err(|error| error.to_string())?;
    if newest > 0 && slot != [newest; 1024] {
        return Err(format!("version {newest} is torn"));
    }
    Ok(newest.into())
}

fn faults_found(careless: Careless) -> Vec<String> {
    let disk = SimDisk::new();
    write_versions(&disk, careless);
    let mut found = Vec::new();
    for cut in disk.cuts() {
        let Some(acknowledged) = cut.marks().last() else {
            continue;
        };
        for image in cut.new_images(1) {
            match recover(&image.disk(), careless) {
                Ok(version) if version >= acknowledged => {}
                Ok(version) => found.push(format!("{version} after {acknowledged}: {image}")),
                Err(reason) => found.push(format!("{reason}: {image}")),
            }
        }
    }
    found
}

#[test]
fn a_careful_store_survives_and_every_careless_one_is_caught() {
    assert_eq!(faults_found(Careless::Nothing), Vec::<String>::new());
    for careless in [
        Careless::NoSyncBeforeTheRoot,
        Careless::NoSyncAfterTheRoot,
        Careless::NoDirectorySync,
        Careless::RootSharesItsSector,
    ] {
        assert!(!faults_found(careless).is_empty(), "{careless:?}");
    }
}
