//! The secret that lets a person at the live page steer the run.

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

/// The shortest token that is taken: shorter ones can be guessed in the time that a run takes. Only its length
/// and chance protect it, so that wrong ones never shut out the right one.
pub const TOKEN_CHARS_MIN: usize = 16;
/// Wrong tokens in a row that are told of, each by a line in the log.
const GUESSES_MAX: u32 = 5;
/// After so long one more is.
const GUESS_EVERY: Duration = Duration::from_secs(2);

/// A token. Only its digest is kept, and nothing shows it.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

impl Token {
    /// Takes a token without the white space around it. `None` where it is shorter than
    /// [`TOKEN_CHARS_MIN`], or holds what cannot stand in a header.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = text.len() >= TOKEN_CHARS_MIN && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(digest(text.as_bytes())))
    }

    /// Whether this is the token. Digests are compared, all of their bytes, so that the time taken tells
    /// nothing of where they differ.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        let pairs = self.0.iter().zip(digest(given));
        black_box(pairs.fold(0_u8, |differs, (ours, theirs)| differs | (ours ^ theirs))) == 0
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// How many wrong tokens were given lately: a few, then one now and then.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Guesses {
    wrong: u32,
    since: Option<Instant>,
}

impl Guesses {
    /// Whether another wrong token is told of.
    pub(super) fn is_told(&mut self, now: Instant) -> bool {
        let rested = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let forgiven = u32::try_from(rested.as_millis() / GUESS_EVERY.as_millis()).unwrap_or(u32::MAX);
        if forgiven > 0 {
            self.wrong = self.wrong.saturating_sub(forgiven);
            self.since = Some(now);
        }
        self.wrong < GUESSES_MAX
    }

    /// It was wrong.
    pub(super) fn failed(&mut self, now: Instant) {
        self.wrong += 1;
        self.since.get_or_insert(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_is_the_token() {
        let token = Token::new(" correct-horse-battery \n").unwrap();
        assert!(token.is(b"correct-horse-battery"));
        for wrong in ["", "correct-horse-batter", "correct-horse-battery ", "Correct-horse-battery"] {
            assert!(!token.is(wrong.as_bytes()), "{wrong:?}");
        }
        assert!(Token::new("short").is_none() && Token::new("sixteen chars and").is_none());
        assert!(!format!("{token:?}").contains("horse"));
    }

    #[test]
    fn wrong_tokens_are_told_of_now_and_then() {
        let (mut guesses, began) = (Guesses::default(), Instant::now());
        for _ in 0..GUESSES_MAX {
            assert!(guesses.is_told(began));
            guesses.failed(began);
        }
        assert!(!guesses.is_told(began) && !guesses.is_told(began + Duration::from_millis(1_900)));
        let later = began + GUESS_EVERY;
        assert!(guesses.is_told(later));
        guesses.failed(later);
        assert!(!guesses.is_told(later + Duration::from_millis(1_900)));
        assert!(guesses.is_told(later + Duration::from_secs(60)));
    }
}
