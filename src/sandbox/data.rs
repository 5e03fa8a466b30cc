//! The data of versions and parts: bytes that were sent, and filler that is never in memory as a
//! whole. Copies share both.

use std::collections::VecDeque;

use hyper::body::Bytes;
use md5::{Digest, Md5};

use super::chance::mix;
use super::version_id::scramble;

/// Bytes of filler that are made at a time.
const CHUNK_BYTES: u64 = 64 * 1024;

/// Filler: each byte follows from the seed and its offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Filler {
    pub(super) seed: u64,
    pub(super) from: u64,
    pub(super) until: u64,
    /// Whether digests of it are those of its bytes. Else they follow from seed and range, so that
    /// gigabytes cost nothing.
    pub(super) is_hashed: bool,
}

impl Filler {
    fn bytes(self) -> Bytes {
        let mut out = Vec::with_capacity((self.until - self.from) as usize);
        let (mut at, start_of_seed) = (self.from, scramble(self.seed));
        while at < self.until {
            let word = scramble(start_of_seed.wrapping_add(at / 8)).to_le_bytes();
            let start = (at % 8) as usize;
            let count = (8 - start).min((self.until - at) as usize);
            out.extend_from_slice(&word[start..start + count]);
            at += count as u64;
        }
        out.into()
    }

    /// Takes the next chunk off its front.
    fn take_chunk(&mut self) -> Bytes {
        let until = self.until.min(self.from.saturating_add(CHUNK_BYTES));
        let chunk = Self { until, ..*self };
        self.from = until;
        chunk.bytes()
    }
}

/// A stretch of data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Piece {
    /// Bytes at hand.
    Bytes(Bytes),
    /// Bytes that are made when they are read.
    Filler(Filler),
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Filler(filler) => filler.until - filler.from,
        }
    }

    fn slice(&self, from: u64, until: u64) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes(bytes.slice(from as usize..until as usize)),
            Self::Filler(filler) => {
                Self::Filler(Filler { from: filler.from + from, until: filler.from + until, ..*filler })
            }
        }
    }
}

/// Data in pieces, none of them empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Data(VecDeque<Piece>);

impl From<Bytes> for Data {
    fn from(bytes: Bytes) -> Self {
        let mut data = Self::default();
        data.push(Piece::Bytes(bytes));
        data
    }
}

impl Data {
    /// Filler from its beginning.
    pub(super) fn filler(seed: u64, length: u64, is_hashed: bool) -> Self {
        let mut data = Self::default();
        data.push(Piece::Filler(Filler { seed, from: 0, until: length, is_hashed }));
        data
    }

    /// Bytes of it.
    pub(super) fn length(&self) -> u64 {
        self.0.iter().map(Piece::length).sum()
    }

    fn push(&mut self, piece: Piece) {
        if let (Some(Piece::Filler(last)), Piece::Filler(next)) = (self.0.back_mut(), &piece)
            && (last.seed, last.until, last.is_hashed) == (next.seed, next.from, next.is_hashed)
        {
            last.until = next.until;
        } else if piece.length() > 0 {
            self.0.push_back(piece);
        }
    }

    /// Adds other data to its end; what was one stretch of filler becomes one again.
    pub(super) fn append(&mut self, other: Self) {
        other.0.into_iter().for_each(|piece| self.push(piece));
    }

    /// The data from one offset to another, which have to lie within it.
    pub(super) fn slice(&self, from: u64, until: u64) -> Self {
        let (mut data, mut start) = (Self::default(), 0);
        for piece in &self.0 {
            let end = start + piece.length();
            let (first, last) = (from.max(start), until.min(end));
            if first < last {
                data.push(piece.slice(first - start, last - start));
            }
            start = end;
        }
        data
    }

    /// Takes the next bytes off its front; empty at its end.
    pub(super) fn take_chunk(&mut self) -> Bytes {
        match self.0.pop_front() {
            None => Bytes::new(),
            Some(Piece::Bytes(bytes)) => bytes,
            Some(Piece::Filler(mut filler)) => {
                let chunk = filler.take_chunk();
                if filler.from < filler.until {
                    self.0.push_front(Piece::Filler(filler));
                }
                chunk
            }
        }
    }

    /// Whether its digests are those of its bytes.
    pub(super) fn is_hashed(&self) -> bool {
        self.0.iter().all(|piece| !matches!(piece, Piece::Filler(filler) if !filler.is_hashed))
    }

    /// Its MD5. Where filler is not hashed it is a number in its place: the same for the same stretches.
    pub(super) fn md5(&self) -> [u8; 16] {
        if self.is_hashed() {
            let (mut left, mut hash) = (self.clone(), Md5::new());
            while left.length() > 0 {
                hash.update(left.take_chunk());
            }
            return hash.finalize().into();
        }
        let words: Vec<u64> = self
            .0
            .iter()
            .flat_map(|piece| match piece {
                Piece::Filler(filler) => [filler.seed, filler.from, filler.until],
                Piece::Bytes(bytes) => {
                    let md5 = u128::from_be_bytes(super::checksum::md5(bytes));
                    [(md5 >> 64) as u64, md5 as u64, bytes.len() as u64]
                }
            })
            .collect();
        let state = mix(&words);
        digest_of(mix(&[state, 1]), mix(&[state, 2]))
    }

    /// All of its bytes.
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut left = self.clone();
        if let [Piece::Bytes(bytes)] = &*left.0.make_contiguous() {
            return bytes.clone();
        }
        let mut out = Vec::with_capacity(self.length() as usize);
        while left.length() > 0 {
            out.extend_from_slice(&left.take_chunk());
        }
        out.into()
    }

    /// A text that is the same for the same data: `filler` with its seed and range where it is
    /// nothing but that, else the MD5 of the bytes.
    pub(super) fn fingerprint(&self) -> String {
        if let Some(Piece::Filler(Filler { seed, from, until, is_hashed: false })) = self.0.front()
            && self.0.len() == 1
        {
            return format!("filler {seed} {from}-{until}");
        }
        format!("md5 {}", hex::encode(self.md5()))
    }
}

/// Two words as the digest that an ETag shows.
pub(super) fn digest_of(high: u64, low: u64) -> [u8; 16] {
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_what_stands_there() {
        let mut data = Data::from(Bytes::from_static(b"0123456789"));
        data.append(Data::filler(7, 200_000, true));
        let all = data.to_bytes();
        assert_eq!((all.len(), data.length()), (200_010, 200_010));
        for (from, until) in [(0, 10), (3, 9), (5, 70_000), (10, 20), (123_456, 200_010), (4, 4)] {
            let part = data.slice(from, until);
            assert_eq!(part.to_bytes(), all[from as usize..until as usize], "{from}-{until}");
            assert_eq!(part.length(), until - from);
        }
        assert_eq!(data.md5(), super::super::checksum::md5(&all));
    }

    #[test]
    fn parts_put_together_again_are_the_same_data() {
        let whole = Data::filler(3, 10 << 30, false);
        let mut again = whole.slice(0, 5 << 30);
        again.append(whole.slice(5 << 30, 10 << 30));
        assert_eq!((again.clone(), again.md5()), (whole.clone(), whole.md5()));
        assert_ne!(whole.slice(0, 5 << 30).md5(), whole.slice(0, 6 << 30).md5());
        assert_ne!(Data::filler(4, 10 << 30, false).md5(), whole.md5());
    }
}
