use proptest::prelude::*;

use super::*;

fn codec() -> Codec {
    Codec::new(Mode::Plan).unwrap()
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let key = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        "(logs|tmp)/20[0-9]{2}/[a-c]{0,3}".prop_map(String::into_bytes),
    ];
    let copied = proptest::option::of(("[a-c/]{0,9}", "[a-z0-9]{1,9}", "\"[0-9a-f]{32}\"|"));
    let copy = proptest::option::weighted(0.3, ("\"[0-9a-f]{32}\"|", "STANDARD|GLACIER|", copied));
    let item = (key, "[ -~]{1,40}|null|é{1,9}", any::<(bool, bool, u64, i64, u16)>(), copy);
    let item = item.prop_map(|(key, id, (marker, is_latest, size, millis, rule), copy)| Item {
        key: Key::from(key),
        version_id: VersionId::new(id).unwrap(),
        kind: if marker { Kind::DeleteMarker } else { Kind::Version },
        is_latest,
        size,
        last_modified: Timestamp::from_millis(millis),
        rule: RuleId(rule),
        copy: copy.map(|(etag, storage_class, copied)| {
            let copied = copied.map(|(key, id, etag)| Copied {
                key: Key::from(key),
                version_id: VersionId::new(id).unwrap(),
                etag: etag.into(),
            });
            Box::new(CopyItem { etag: etag.into(), storage_class: storage_class.into(), copied })
        }),
    });
    proptest::collection::vec(item, 0..60)
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(items in items()) {
        let mut codec = codec();
        for data in [codec.encode_items(&items).unwrap(), codec.encode_tail(&items).unwrap()] {
            let found = codec.decode_items(&data, items.len() as u64, || "it".into()).unwrap();
            prop_assert_eq!(&found, &items);
        }
    }

    #[test]
    fn a_changed_byte_is_found(items in items(), at in any::<prop::sample::Index>(), bits in 1_u8..) {
        let mut codec = codec();
        let mut data = codec.encode_items(&items).unwrap();
        let at = at.index(data.len());
        data[at] ^= bits;
        // A change that leaves the content as it is, in a hint of the frame's header, does no harm.
        match codec.decode_items(&data, items.len() as u64, || "it".into()) {
            Ok(found) => prop_assert_eq!(found, items),
            Err(error) => prop_assert!(matches!(error, CheckpointError::Corrupt { .. }), "{}", error),
        }
    }

    #[test]
    fn chance_bytes_are_refused_not_believed(plain in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut codec = codec();
        let data = pack(&mut codec.compressor, &plain).unwrap();
        if let Ok(items) = codec.decode_items(&data, 3, || "it".into()) {
            prop_assert_eq!(items.len(), 3);
        }
        let _ = codec.decode_state(&data, 1);
    }
}

#[test]
fn a_range_state_comes_back_whole() {
    let mut codec = codec();
    let item = Item {
        key: Key::new(*b"\xff/x"),
        version_id: VersionId::new("null").unwrap(),
        kind: Kind::Version,
        is_latest: true,
        size: u64::MAX,
        last_modified: Timestamp::from_millis(-5),
        rule: RuleId(7),
        copy: None,
    };
    for state in [
        RangeState::default(),
        RangeState {
            recent: vec![VersionId::new("a").unwrap(), VersionId::new("null").unwrap()],
            fold: Some(Box::default()),
            held: None,
        },
        RangeState {
            recent: Vec::new(),
            fold: Some(Box::from([1, 2, 3])),
            held: Some(HeldItem { item, action: ActionId(3) }),
        },
    ] {
        let data = codec.encode_state(&state).unwrap();
        assert_eq!(codec.decode_state(&data, 1).unwrap(), state);
    }
}

#[test]
fn a_wrong_count_is_corrupt_and_names_whose_items_they_are() {
    let mut codec = codec();
    let data = codec.encode_items(&[]).unwrap();
    let error = codec.decode_items(&data, 1, || "batch 9".into()).unwrap_err();
    assert_eq!(error.to_string(), "the checkpoint is damaged: the items of batch 9 do not decode");
}

#[test]
fn items_that_only_go_are_written_as_ever() {
    let item = |key: &str, size| Item {
        key: Key::from(key),
        version_id: VersionId::new("v").unwrap(),
        kind: Kind::Version,
        is_latest: true,
        size,
        last_modified: Timestamp::from_millis(3),
        rule: RuleId(1),
        copy: None,
    };
    let mut plain = Vec::new();
    put_items(&mut plain, &[item("ab", 5), item("ac", 6)]);
    assert_eq!(plain, b"\x02\x00\x02ab\x01\x01c\x01v\x01v\x06\x06\x05\x06\x06\x00");
    let mut travels = item("ac", 6);
    travels.copy = Some(Box::new(CopyItem { etag: "e".into(), storage_class: "".into(), copied: None }));
    let mut with_copy = Vec::new();
    put_items(&mut with_copy, &[item("ab", 5), travels]);
    assert_eq!(with_copy.strip_prefix(plain.as_slice()), Some(b"\x00\x01\x01e\x00".as_slice()));
}
