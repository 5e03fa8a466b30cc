//! Keys and messages as the live page shows them. They are other people's text: whatever could hide,
//! turn around or imitate what stands beside it is written out.

use std::fmt::Write as _;

/// The longest text that is shown; what is behind is counted.
const CHARS_MAX: usize = 200;

/// Whether a character shows nothing of itself, or changes how its neighbours are shown.
const fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        // Spaces that are not the space, joiners, marks of direction, ends of lines.
        | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}'
        | '\u{2800}' | '\u{3000}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        // Private use, and tags.
        | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
}

/// Bytes for people: control characters, marks of direction, invisible characters and bytes that are not
/// UTF-8 are escaped as in Rust, spaces at the ends too. Long texts are cut.
pub fn visible(bytes: &[u8]) -> String {
    let mut out = String::new();
    let (mut shown, mut taken) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if shown == CHARS_MAX {
                return cut(out, bytes.len() - taken);
            }
            let is_edge = taken == 0 || taken + c.len_utf8() == bytes.len();
            let written = if c == '\\' {
                write!(out, "\\\\")
            } else if c.is_control() || is_deceptive(c) || (c == ' ' && is_edge) {
                write!(out, "{}", c.escape_unicode())
            } else {
                out.push(c);
                Ok(())
            };
            // Writing to a String cannot fail.
            let _written = written;
            shown += 1;
            taken += c.len_utf8();
        }
        for byte in chunk.invalid() {
            if shown == CHARS_MAX {
                return cut(out, bytes.len() - taken);
            }
            let _written = write!(out, "\\x{byte:02x}");
            shown += 1;
            taken += 1;
        }
    }
    out
}

fn cut(mut out: String, left_bytes: usize) -> String {
    let _written = write!(out, "… (+{left_bytes} bytes)");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_deceive_is_written_out() {
        for (bytes, shown) in [
            (&b"logs/2024/a b.gz"[..], "logs/2024/a b.gz"),
            ("größe/日本".as_bytes(), "größe/日本"),
            (b"a\nb\x1b[31m\0", "a\\u{a}b\\u{1b}[31m\\u{0}"),
            ("x\u{202e}gpj.exe".as_bytes(), "x\\u{202e}gpj.exe"),
            ("a\u{200b}b\u{2066}\u{feff}".as_bytes(), "a\\u{200b}b\\u{2066}\\u{feff}"),
            (b"\xff\xfe/ok\xc3", "\\xff\\xfe/ok\\xc3"),
            (b" edge ", "\\u{20}edge\\u{20}"),
            (b"a\\u{20}", "a\\\\u{20}"),
            (b"<script>alert(1)</script>", "<script>alert(1)</script>"),
            (b"", ""),
        ] {
            assert_eq!(visible(bytes), shown);
        }
    }

    #[test]
    fn long_texts_are_cut_and_say_so() {
        let long = "é".repeat(1_000);
        let shown = visible(long.as_bytes());
        assert!(shown.ends_with("é… (+1600 bytes)"), "{shown}");
        assert_eq!(visible("k".repeat(CHARS_MAX).as_bytes()).len(), CHARS_MAX);
        assert!(visible(&[0xff; 1024]).ends_with("\\xff… (+824 bytes)"));
    }
}
