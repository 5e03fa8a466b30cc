//! Percent-encoding as AWS signs it, and the decoding of what servers encode.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// What SigV4 leaves alone: RFC 3986's unreserved characters.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// In a path the slash stays as well.
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// Encodes a query value so that what is sent is what was signed.
pub(super) fn query_value(bytes: &[u8]) -> String {
    percent_encode(bytes, QUERY).to_string()
}

/// Encodes a key for the path of a URL.
pub(super) fn path_of_key(bytes: &[u8]) -> String {
    percent_encode(bytes, PATH).to_string()
}

/// What a bare `+` stands for in text that a server encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plus {
    /// A space, as AWS and MinIO write it; a plus is `%2B` there.
    Space,
    /// A plus, as servers write it that encode for a path; a space is `%20` there.
    Literal,
}

/// Appends what [`decode`] makes of a text.
pub(super) fn decode_into(text: &str, plus: Plus, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    // Keys hold few codes: what lies between two of them is copied as a whole.
    while let Some(at) = memchr::memchr2(b'%', b'+', rest) {
        let (plain, code) = rest.split_at(at);
        out.extend_from_slice(plain);
        let (byte, length) = match code {
            [b'%', high, low, ..] => match (hex_digit(*high), hex_digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'%', 1),
            },
            [b'+', ..] if plus == Plus::Space => (b' ', 1),
            [other, ..] => (*other, 1),
            [] => break,
        };
        out.push(byte);
        rest = &code[length..];
    }
    out.extend_from_slice(rest);
}

const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Decodes text that a server marked as EncodingType `url`.
pub(super) fn decode(text: &str, plus: Plus) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    decode_into(text, plus, &mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(query_value(b"a b+c/d~e_f-g.h%*"), "a%20b%2Bc%2Fd~e_f-g.h%25%2A");
        assert_eq!(path_of_key("a//b c/ü".as_bytes()), "a//b%20c/%C3%BC");
    }

    #[test]
    fn a_plus_is_what_the_server_means_by_it() {
        assert_eq!(decode("a+b%2Bc%20d", Plus::Space), b"a b+c d");
        assert_eq!(decode("a+b%2Bc%20d", Plus::Literal), b"a+b+c d");
        for odd in ["%zz", "%", "%4", "a%4", "%4g%g4"] {
            assert_eq!(decode(odd, Plus::Space), odd.as_bytes(), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn any_key_survives(key in proptest::collection::vec(any::<u8>(), 0..64)) {
            for plus in [Plus::Space, Plus::Literal] {
                let text = String::from_utf8_lossy(&key);
                if plus == Plus::Literal {
                    let library: Vec<u8> = percent_encoding::percent_decode_str(&text).collect();
                    prop_assert_eq!(decode(&text, plus), library);
                }
                prop_assert_eq!(decode(&query_value(&key), plus), key.clone());
                prop_assert_eq!(decode(&path_of_key(&key), plus), key.clone());
            }
        }
    }
}
