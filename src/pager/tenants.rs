//! Who lives in a frame: what the writer knows of the page in it.
//! Owns: [`Tenants`]. Absent on purpose: the bytes (the room `frames`) and any rule of reuse.

use super::frames::{FrameId, SHAPES, Shape};
use crate::{page::PageId, publish::Version};
use std::ops::{Index, IndexMut};

/// What the writer knows of the page in a frame.
#[derive(Clone, Copy, Debug)]
pub struct Tenant {
    /// The page, or a run's first.
    pub page: PageId,
    /// How many pages.
    pub pages: u32,
    /// The version that made it.
    pub birth: Version,
    /// How it stands.
    pub state: Tenancy,
}

/// The life of a frame, as the writer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenancy {
    /// Free, or filled by a reader and not noted yet.
    Vacant,
    /// Its page is clean, and was read from where there is no map.
    Cached,
    /// Its page was written since the last checkpoint and is alive.
    Dirty,
    /// Given up; some reader may still look at it.
    Retired,
}

/// Nobody.
pub const VACANT: Tenant =
    Tenant { page: PageId(0), pages: 0, birth: Version(0), state: Tenancy::Vacant };

/// The tenant of every frame, by shape, as their numbers are.
#[derive(Default)]
pub struct Tenants([Vec<Tenant>; SHAPES]);

impl Tenants {
    /// The tenant of a frame, if it ever had one.
    pub fn get(&self, frame: FrameId) -> Option<&Tenant> {
        let (shape, number) = frame.place();
        self.0[shape.index()].get(number)
    }

    /// Moves a tenant in, or out.
    pub fn set(&mut self, frame: FrameId, tenant: Tenant) {
        let (shape, number) = frame.place();
        let tenants = &mut self.0[shape.index()];
        if number >= tenants.len() {
            tenants.resize(number + 1, VACANT);
        }
        tenants[number] = tenant;
    }

    /// All frames that ever had a tenant.
    pub fn iter(&self) -> impl Iterator<Item = (FrameId, &Tenant)> {
        Shape::all().zip(&self.0).flat_map(|(shape, tenants)| {
            tenants.iter().enumerate().map(move |(n, t)| (FrameId::at(shape, n), t))
        })
    }
}

impl Index<FrameId> for Tenants {
    type Output = Tenant;

    fn index(&self, frame: FrameId) -> &Tenant {
        self.get(frame).expect("the writer has used this frame")
    }
}

impl IndexMut<FrameId> for Tenants {
    fn index_mut(&mut self, frame: FrameId) -> &mut Tenant {
        let (shape, number) = frame.place();
        &mut self.0[shape.index()][number]
    }
}
