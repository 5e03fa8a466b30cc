//! An answer: status, headers, and a body that is bytes or filler made while it is sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::Response;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{HeaderName, HeaderValue};

use super::data::Data;

/// The body of an answer.
#[derive(Debug)]
pub(super) enum ReplyBody {
    /// Bytes at hand.
    Whole(Bytes),
    /// Data of a version, whose filler is made while it is sent.
    Data(Data),
}

impl ReplyBody {
    /// Bytes that are left to send.
    pub(super) fn remaining(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Data(data) => data.length(),
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.get_mut() {
            Self::Whole(bytes) => std::mem::take(bytes),
            Self::Data(data) => data.take_chunk(),
        };
        Poll::Ready((!next.is_empty()).then(|| Ok(Frame::data(next))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining())
    }
}

/// An answer before it knows its request id.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: ReplyBody,
    /// Keys that the request was about or the answer lists, for latency and counters.
    pub(super) keys: u64,
    /// Keys that were answered with an error of their own.
    pub(super) keys_refused: u64,
}

impl Reply {
    /// An answer without a body.
    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: ReplyBody::Whole(Bytes::new()), keys: 1, keys_refused: 0 }
    }

    /// 200 with a document.
    pub(super) fn xml(document: Vec<u8>) -> Self {
        let mut reply = Self::empty(200).header("Content-Type", "application/xml");
        reply.body = ReplyBody::Whole(document.into());
        reply
    }

    /// The same with one more header.
    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The same about so many keys.
    pub(super) fn about(mut self, keys: usize) -> Self {
        self.keys = keys as u64;
        self
    }

    /// The answer as hyper sends it. A header whose value HTTP cannot carry is left out.
    pub(super) fn into_response(self, is_head: bool) -> Response<ReplyBody> {
        let length = self.body.remaining();
        let says_length = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let body = if is_head { ReplyBody::Whole(Bytes::new()) } else { self.body };
        let mut response = Response::new(body);
        *response.status_mut() = hyper::StatusCode::from_u16(self.status).unwrap_or_default();
        let headers = response.headers_mut();
        for (name, value) in self.headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
                headers.append(name, value);
            }
        }
        if !says_length && self.status != 204 && !(is_head && length == 0) {
            headers.insert(hyper::header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        response
    }
}
