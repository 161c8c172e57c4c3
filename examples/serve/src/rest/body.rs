//! Bodies of requests, read into memory in which tensors can stay.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{Answer, number_in};
use crate::failure::{Failure, Reason};
use crate::metrics::Stage;
use crate::service::Service;

/// The most bytes for which memory is reserved because a client says that it will send them.
const MOST_RESERVED: usize = 4 << 20;

/// A body: its head, and the bytes of tensors that follow it.
///
/// A body arrives in parts. Each is copied once, to its final place, and then dropped, so that the connection reads the
/// next one into the same memory.
#[derive(Default)]
pub struct Received {
    /// The JSON in front of binary tensors, or all of the body.
    pub head: Vec<u8>,
    /// What follows the head.
    pub tensors: Elements,
}

impl Received {
    /// Returns the number of bytes.
    pub fn len(&self) -> usize {
        self.head.len() + self.tensors.len
    }

    fn push(&mut self, part: &[u8], head_length: usize) {
        let missing = head_length - self.head.len();
        let (head, tensors) = part.split_at(part.len().min(missing));
        self.head.extend_from_slice(head);
        self.tensors.push(tensors);
    }
}

/// Bytes in memory that is aligned for f32.
#[derive(Default)]
pub struct Elements {
    /// The bytes, and up to three more.
    words: Vec<f32>,
    len: usize,
}

impl Elements {
    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    /// Takes the bytes out as elements, without a copy, if they are whole elements.
    pub fn take(&mut self) -> Option<Vec<f32>> {
        let is_whole = self.len.is_multiple_of(size_of::<f32>());
        is_whole.then(|| std::mem::take(self).words)
    }

    fn push(&mut self, bytes: &[u8]) {
        const SIZE: usize = size_of::<f32>();
        let begun = self.len % SIZE;
        self.len += bytes.len();
        let (rest, bytes) = bytes.split_at(bytes.len().min((SIZE - begun) % SIZE));
        if let Some(word) = self.words.last_mut().filter(|_| begun > 0) {
            bytemuck::bytes_of_mut(word)[begun..begun + rest.len()].copy_from_slice(rest);
        }
        let (words, rest) = bytes.as_chunks();
        self.words.extend(words.iter().map(|&word| f32::from_ne_bytes(word)));
        if !rest.is_empty() {
            let mut word = [0; SIZE];
            word[..rest.len()].copy_from_slice(rest);
            self.words.push(f32::from_ne_bytes(word));
        }
    }
}

/// Reads a body within the limits of size and time, before anything else is checked: many clients read no answer
/// before they have sent all. Tensors follow after `head_length` bytes, if it is known.
pub async fn read(
    service: &Service,
    headers: &HeaderMap,
    body: Body,
    head_length: Option<usize>,
) -> Answer<Received> {
    let encoding = headers.get(header::CONTENT_ENCODING).filter(|&value| value != "identity");
    if let Some(encoding) = encoding {
        let message = format!("the body is encoded as {encoding:?}, send it as it is");
        return Err(Failure::new(Reason::Encoding, message));
    }
    let started = Instant::now();
    let (limit, time) = (service.options.max_body_bytes(), service.options.read_timeout());
    let too_large = || {
        let message = format!("a body may have {limit} bytes, this one has more");
        Failure::new(Reason::TooLarge, message)
    };
    let stated = number_in(headers, &header::CONTENT_LENGTH)?.unwrap_or(0);
    if stated > limit {
        discard(body).await;
        return Err(too_large());
    }
    let parts = async {
        let mut body = Limited::new(body, limit);
        let head_length = head_length.unwrap_or(usize::MAX);
        let reserved = stated.min(MOST_RESERVED);
        let mut received = Received::default();
        received.head.reserve(reserved.min(head_length));
        received.tensors.words.reserve(reserved.saturating_sub(head_length).div_ceil(4));
        while let Some(frame) = body.frame().await {
            if let Ok(part) = frame?.into_data() {
                received.push(&part, head_length);
            }
        }
        Ok(received)
    };
    let read = tokio::time::timeout(time, parts).await;
    let read = read.map_err(|_| {
        let message = format!("the body did not arrive within {time:?}");
        Failure::new(Reason::SlowBody, message)
    })?;
    let received =
        read.map_err(|e: axum::BoxError| match e.downcast_ref::<LengthLimitError>() {
            Some(_) => too_large(),
            None => Failure::new(Reason::Cancelled, format!("the body broke off: {e}")),
        })?;
    service.metrics.stage(Stage::Read, started.elapsed());
    Ok(received)
}

/// Reads a body that is refused, for a moment.
async fn discard(mut body: Body) {
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(Duration::from_secs(2), all).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_the_same_in_parts_of_any_length() {
        let body: Vec<u8> = (1..=23).collect();
        for (head_length, length) in (0..9).flat_map(|head| (1..9).map(move |part| (head, part))) {
            let mut received = Received::default();
            body.chunks(length).for_each(|part| received.push(part, head_length));
            assert_eq!(received.len(), body.len());
            assert_eq!(received.head, body[..head_length]);
            assert_eq!(received.tensors.bytes(), &body[head_length..]);
            let (words, rest) = body[head_length..].as_chunks();
            let words = words.iter().copied().map(f32::from_ne_bytes).collect();
            assert_eq!(received.tensors.take(), rest.is_empty().then_some(words));
            assert_eq!(received.tensors.bytes().is_empty(), rest.is_empty());
        }
    }
}
