use super::*;

#[test]
fn every_frame_has_bytes_of_its_own() {
    let (frames, mut writer) = Frames::new(256, 0);
    let all: Vec<FrameId> =
        (0..300).map(|i| writer.alloc(if i % 7 == 0 { 3 } else { 1 }).unwrap()).collect();
    for (i, frame) in all.iter().enumerate() {
        writer.bytes_mut(*frame).fill(i as u8);
    }
    writer.share();
    for (i, frame) in all.iter().enumerate() {
        let pages = if i % 7 == 0 { 3 } else { 1 };
        assert_eq!(frames.bytes(*frame), vec![i as u8; 256 * pages]);
        assert!(!writer.is_fresh(*frame));
    }
    assert_eq!(frames.written_bytes(), 256 * (300 + 2 * 43));
    for frame in all {
        writer.reuse(frame);
    }
    assert_eq!(frames.written_bytes(), 0);
}

#[test]
fn the_last_freed_is_used_first() {
    let (_, mut writer) = Frames::new(256, 0);
    for pages in [1, 2] {
        let first = writer.alloc(pages).unwrap();
        let second = writer.alloc(pages).unwrap();
        writer.reuse(first);
        assert_eq!(writer.alloc(pages).unwrap(), first);
        assert!(writer.is_fresh(first) && writer.is_fresh(second));
    }
}

#[test]
#[should_panic(expected = "only a fresh frame is written")]
fn a_shared_frame_is_not_written() {
    let (_, mut writer) = Frames::new(256, 0);
    let frame = writer.alloc(1).unwrap();
    writer.share();
    writer.bytes_mut(frame);
}

#[test]
#[should_panic(expected = "a frame is given back once")]
fn a_frame_is_not_given_to_two_pages() {
    let (_, mut writer) = Frames::new(256, 0);
    let frame = writer.alloc(1).unwrap();
    writer.reuse(frame);
    writer.reuse(frame);
}

#[test]
fn a_filled_frame_is_bounded_and_goes_back_unless_it_is_kept() {
    let (frames, mut writer) = Frames::new(256, 512);
    let fill = |byte: u8| {
        move |bytes: &mut [u8]| {
            bytes.fill(byte);
            Ok(())
        }
    };
    let kept = frames.fill(1, fill(1)).unwrap().keep();
    assert!(!writer.is_fresh(kept));
    let lost = frames.fill(1, fill(2)).unwrap();
    assert_eq!(frames.bytes(lost.id()), [2; 256]);
    assert!(matches!(frames.fill(1, fill(3)), Err(Error::Full { what: Resource::CacheBytes })));
    drop(lost);
    assert!(frames.fill(2, fill(3)).is_err());
    let failed = frames.fill(1, |_| Err(Error::Closed));
    assert!(matches!(failed, Err(Error::Closed)));
    assert_eq!((frames.filled_bytes(), frames.written_bytes()), (256, 0));
    assert_eq!(frames.bytes(kept), [1; 256]);
    writer.reuse(kept);
    assert_eq!(frames.filled_bytes(), 0);
    let run = frames.fill(2, fill(4)).unwrap().keep();
    assert_eq!(frames.bytes(run), [4; 512]);
    writer.reuse(run);
    assert_eq!(frames.filled_bytes(), 0);
}
