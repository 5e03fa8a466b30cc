use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::model::{Timestamp, VersionId};

use super::*;

/// Literals without an empty one and without two in a row, as a parser makes them.
fn templates() -> impl Strategy<Value = KeyTemplate> {
    let literal = || "[a{}%/@._é\n-]{1,4}".prop_map(String::into_bytes);
    let time = select(vec![
        TimePart::Year,
        TimePart::Month,
        TimePart::Day,
        TimePart::Hour,
        TimePart::Minute,
        TimePart::Second,
    ]);
    let time_literal = "[a%/@.]{1,2}".prop_map(|text| TimePart::Literal(text.into_bytes()));
    let times = vec(prop_oneof![3 => time, 1 => time_literal], 1..4).prop_map(|mut parts| {
        parts.dedup_by(|a, b| matches!((a, b), (TimePart::Literal(_), TimePart::Literal(_))));
        KeyPart::LastModified(parts)
    });
    let part = prop_oneof![
        3 => literal().prop_map(KeyPart::Literal),
        2 => Just(KeyPart::Key),
        1 => Just(KeyPart::KeyWithoutPrefix),
        2 => Just(KeyPart::VersionId),
        1 => times,
    ];
    vec(part, 1..6).prop_map(|mut parts| {
        parts.dedup_by(|a, b| matches!((a, b), (KeyPart::Literal(_), KeyPart::Literal(_))));
        KeyTemplate(parts)
    })
}

/// A key, a version id and a time, of few letters so that texts meet.
fn sources() -> impl Strategy<Value = (String, VersionId, Timestamp)> {
    let id = "[a._-]{1,4}".prop_map(|id| VersionId::new(id).unwrap());
    let at = (0..3_i64).prop_map(|year| Timestamp::from_millis(1_700_000_000_000 + year * 31_600_000_000));
    ("[a/@._-]{0,6}", id, at)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_template_is_what_its_text_says(template in templates()) {
        prop_assert_eq!(parse(&template.to_string()), Ok(template));
    }

    #[test]
    fn any_text_is_a_template_or_a_fault(text in "[{}a%:Y/]{0,12}|\\PC{0,8}") {
        if let Ok(template) = parse(&text) {
            prop_assert_eq!(parse(&template.to_string()), Ok(template));
        }
    }

    #[test]
    fn different_keys_never_come_to_one(
        template in templates(),
        all in vec(sources(), 2..40),
        prefixes in select(vec![vec![""], vec!["a/"], vec!["a", "b"]]),
    ) {
        let prefixes: Vec<Key> = prefixes.into_iter().map(Key::from).collect();
        if collision(&template, &prefixes).is_none() {
            let mut seen: BTreeMap<Key, Key> = BTreeMap::new();
            for (key, id, at) in all {
                // Listed keys begin with a prefix of the scope.
                let key = Key::new([prefixes[0].as_bytes(), key.as_bytes()].concat());
                let copy = template.render(&key, &id, at, &prefixes);
                let plainest = plainest(template.clone(), &prefixes);
                prop_assert_eq!(&plainest.render(&key, &id, at, &prefixes), &copy);
                let former = seen.insert(copy.clone(), key.clone());
                prop_assert!(former.as_ref().is_none_or(|former| *former == key), "{former:?} {key:?} {copy:?}");
            }
        }
    }
}
