//! How a message is put on a line and taken off it: as tonic's own codec does it, with two differences.
//!
//! It is encoded into a buffer that is as long as the message from the start. Tonic's doubles until the message fits and
//! copies what it has; a page of batches has megabytes.
//! And it is decoded only if its parts are of some size. An empty batch takes two octets on the line and 128 in memory,
//! so that a page of nothing else would take a gigabyte.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use tonic::Status;
use tonic::codec::{DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Fields that a message may have whatever its length, and octets that each one behind them must have on average. A
/// signed batch has more than 200.
const FEW: usize = 1_024;
const LEAST: usize = 128;

/// What the generated services use; named in `build.rs`.
#[derive(Debug)]
pub(crate) struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Whole<T>;
    type Decoder = Sizeable<U>;

    fn encoder(&mut self) -> Self::Encoder {
        Whole(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        Sizeable(PhantomData)
    }
}

/// Encodes a message whole.
#[derive(Debug)]
pub(crate) struct Whole<T>(PhantomData<T>);

impl<T: Message> Encoder for Whole<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        message.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

/// Decodes a message whose parts are of some size.
#[derive(Debug)]
pub(crate) struct Sizeable<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for Sizeable<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        check(buffer.chunk())?;
        U::decode(buffer).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

fn check(message: &[u8]) -> Result<(), Status> {
    let (fields, most) = (fields(message), FEW + message.len() / LEAST);
    if fields <= most {
        return Ok(());
    }
    Err(Status::internal(format!(
        "the message has {fields} fields in {} octets; {most} may be",
        message.len()
    )))
}

/// Up to where the message is one.
fn fields(mut message: &[u8]) -> usize {
    let mut fields = 0;
    while let Ok((tag, wire_type)) = decode_key(&mut message)
        && skip_field(wire_type, tag, &mut message, DecodeContext::default()).is_ok()
    {
        fields += 1;
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{PullReply, SignedBatch};

    #[test]
    fn a_page_of_nothing_is_refused_before_it_takes_memory() {
        let page = [0x0a, 0].repeat(1_000_000);
        let refused = check(&page).unwrap_err();
        assert!(refused.message().contains("1000000 fields in 2000000 octets"), "{refused}");
        assert!(check(&page[..2_000]).is_ok());
    }

    #[test]
    fn a_page_of_the_smallest_batches_passes() {
        let batch = SignedBatch { sealed: vec![7; 200].into(), ..SignedBatch::default() };
        let page = PullReply { batches: vec![batch; 20_000] }.encode_to_vec();
        assert!(check(&page).is_ok());
        assert_eq!(fields(&page), 20_000);
        assert!(check(&page[..page.len() - 1]).is_ok(), "what breaks off is for the decoder to refuse");
    }
}
