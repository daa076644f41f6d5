#!/usr/bin/env python3
"""Opens the worked example of proto/README.md without any code of this project.

Written from the document and the standards it names: RFC 9180 (HPKE), draft-connolly-cfrg-xwing-kem and FIPS 186-5
(ECDSA). Needs the packages `cryptography` and `kyber-py`. Ends with 1 at the first mismatch.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import re
import struct
import sys

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from kyber_py.ml_kem import ML_KEM_768

README = pathlib.Path(__file__).resolve().parents[2] / "proto" / "README.md"
# Suite: number in a key list, KEM id, AEAD id, octets of the AEAD's key. The KDF is HKDF-SHA256, id 1.
SUITES = {"p256": (2, 0x0010, 0x0001, 16), "x25519": (3, 0x0020, 0x0001, 16), "x-wing": (1, 0x647A, 0x0002, 32)}
# `\.//^\`, the label of X-Wing.
XWING_LABEL = bytes.fromhex("5c2e2f2f5e5c")
PUSHER = bytes([0]) + struct.pack(">HH", 826, 1)
DESTINATION = bytes([0]) + struct.pack(">HH", 250, 0)


# The document.


def blocks():
    text = README.read_text(encoding="utf-8")
    return dict(re.findall(r"^```\w+ name=(\S+)\n(.*?)^```$", text, re.M | re.S))


BLOCKS = blocks()


def octets(name):
    if name not in BLOCKS:
        fail(f"{README.name} has no block {name}")
    return bytes.fromhex("".join(BLOCKS[name].split()))


def fail(what):
    print(f"MISMATCH: {what}")
    sys.exit(1)


def same(what, found, shown):
    if found != shown:
        fail(f"{what}: {found.hex()} is not {shown.hex()}")
    print(f"same      {what}")


# Names and signatures.


def message(domain, signed):
    return bytes([len(domain)]) + domain.encode() + signed


def key_id(kind, public):
    return hashlib.sha256(message("exchange/v1 key id", bytes([kind]) + public)).digest()[:8]


def point(scalar):
    key = ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def check_signature(what, public, domain, signed, signature):
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), message(domain, signed), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        fail(f"signature of the {what}")
    print(f"verified  signature of the {what}")


# HPKE (RFC 9180), mode Base. The names are the RFC's.


def hkdf_extract(salt, ikm):
    return hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()


def hkdf_expand(prk, info, length):
    out, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        out += block
    return out[:length]


def labeled_extract(suite_id, salt, label, ikm):
    return hkdf_extract(salt, b"HPKE-v1" + suite_id + label + ikm)


def labeled_expand(suite_id, prk, label, info, length):
    return hkdf_expand(prk, struct.pack(">H", length) + b"HPKE-v1" + suite_id + label + info, length)


def dh_secret(kem_id, dh, enc, public):
    suite_id = b"KEM" + struct.pack(">H", kem_id)
    prk = labeled_extract(suite_id, b"", b"eae_prk", dh)
    return labeled_expand(suite_id, prk, b"shared_secret", enc + public, 32)


class P256:
    def __init__(self, private):
        self.key = ec.derive_private_key(int.from_bytes(private, "big"), ec.SECP256R1())
        self.public = point(private)

    def decap(self, enc):
        dh = self.key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), enc))
        return dh_secret(0x0010, dh, enc, self.public)


class X25519:
    def __init__(self, private):
        self.key = X25519PrivateKey.from_private_bytes(private)
        self.public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def exchange(self, enc):
        return self.key.exchange(X25519PublicKey.from_public_bytes(enc))

    def decap(self, enc):
        return dh_secret(0x0020, self.exchange(enc), enc, self.public)


class XWing:
    """The combiner of draft-connolly-cfrg-xwing-kem: SHA3-256 over both secrets and X25519's two public values."""

    def __init__(self, private):
        expanded = hashlib.shake_256(private).digest(96)
        encapsulation_key, self.decapsulation_key = ML_KEM_768.key_derive(expanded[:64])
        self.x25519 = X25519(expanded[64:])
        self.public = encapsulation_key + self.x25519.public

    def decap(self, enc):
        mlkem, x25519 = enc[:1088], enc[1088:]
        secrets = ML_KEM_768.decaps(self.decapsulation_key, mlkem) + self.x25519.exchange(x25519)
        return hashlib.sha3_256(secrets + x25519 + self.x25519.public + XWING_LABEL).digest()


KEYS = {name: kem(octets(f"private-{name}")) for name, kem in (("p256", P256), ("x25519", X25519), ("x-wing", XWing))}


def open_base(name, enc, info, aad, sealed):
    _, kem_id, aead_id, key_len = SUITES[name]
    suite_id = b"HPKE" + struct.pack(">HHH", kem_id, 0x0001, aead_id)
    psk_id_hash = labeled_extract(suite_id, b"", b"psk_id_hash", b"")
    info_hash = labeled_extract(suite_id, b"", b"info_hash", info)
    context = bytes([0]) + psk_id_hash + info_hash
    try:
        shared_secret = KEYS[name].decap(enc)
    except ValueError as error:
        fail(f"the encapsulated key of {name}: {error}")
    secret = labeled_extract(suite_id, shared_secret, b"secret", b"")
    key = labeled_expand(suite_id, secret, b"key", context, key_len)
    nonce = labeled_expand(suite_id, secret, b"base_nonce", context, 12)
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except InvalidTag:
        fail(f"what is sealed with {name} does not open")


# The layouts.


def framed(value):
    return struct.pack(">H", len(value)) + value


def padme(length):
    exponent = length.bit_length() - 1
    kept = exponent.bit_length()
    mask = (1 << (exponent - min(kept, exponent))) - 1
    return (length + mask) & ~mask


def check_keys():
    for name in ("826-gateway", "250-gateway", "250-lists", "anchor"):
        same(f"public key {name}", point(octets(f"private-{name}")), octets(f"public-{name}"))
        same(f"key id {name}", key_id(0, octets(f"public-{name}")), octets(f"id-{name}"))
    for name, key in KEYS.items():
        same(f"key id {name}", key_id(SUITES[name][0], key.public), octets(f"id-{name}"))
    for name in ("p256", "x25519"):
        same(f"public key {name}", KEYS[name].public, octets(f"public-{name}"))


def check_reports():
    day = 20_777 - 2
    contact = bytes([1, 1]) + bytes([0x10]) + struct.pack(">HH", 250, 0)
    contact += struct.pack(">HBH4H", day, 41, 17, 2, 12, 3, 0) + struct.pack(">BHH", 1, 146, 1)
    contact += framed(bytes(range(0xA0, 0xB0))) + framed(bytes([0x40, 1, 0xC9]))
    same("report, kind 1", contact, octets("report-contact"))
    key = bytes([2, 1]) + bytes([0x80]) + struct.pack(">HH", 250, 0) + PUSHER
    key += bytes([2]) + bytes(range(0xB0, 0xC0)) + struct.pack(">IB", (20_777 - 3) * 144, 144)
    key += struct.pack(">BbB", 1, -1, 5)
    same("report, kind 2", key, octets("report-diagnosis-key"))
    body = framed(contact) + framed(key)
    same("push body", body, octets("push-body"))
    same("batch body", body.ljust(padme(len(body)), b"\0"), octets("batch-body"))
    same("push headers", contact[2:7] + key[2:7], octets("push-headers"))


def check_push(name):
    aad = octets(f"push-id-{name}") + octets(f"id-{name}") + PUSHER + octets("push-headers")
    if name == "p256":
        same("push AAD", aad, octets("push-aad"))
    text = open_base(name, octets(f"push-enc-{name}"), b"exchange/v1 push", aad, octets(f"push-sealed-{name}"))
    same(f"push opened with {name}", text, octets("push-body"))


def check_batch(name, sequence, previous):
    manifest, sealed = octets(f"manifest-{name}"), octets(f"sealed-{name}")
    signature = octets(f"manifest-signature-{name}")
    check_signature(f"manifest {name}", octets("public-826-gateway"), "exchange/v1 manifest", manifest, signature)
    header = bytes([1]) + struct.pack(">H", 826) + DESTINATION + octets(f"id-{name}")
    header += bytes([0xD0 + sequence]) * 16 + struct.pack(">I", 29_919_480)
    enc = manifest[114:]
    made = header + struct.pack(">Q", sequence) + previous + hashlib.sha256(sealed).digest()
    made += struct.pack(">I", len(sealed)) + framed(enc)
    same(f"manifest {name}", made, manifest)
    text = open_base(name, enc, b"exchange/v1 batch", header, sealed)
    same(f"batch opened with {name}", text, octets("batch-body"))
    return hashlib.sha256(manifest).digest()


def check_receipt(last_manifest):
    receipt = bytes([1]) + struct.pack(">HHQ", 826, 250, 3) + last_manifest + bytes([2])
    same("receipt", receipt, octets("receipt"))
    signature = octets("receipt-signature")
    check_signature("receipt", octets("public-250-gateway"), "exchange/v1 receipt", receipt, signature)


def check_key_list():
    now, day = 29_919_480 * 60, 86_400
    made = bytes([1, 1]) + DESTINATION + struct.pack(">QQH", 7, now, 3)
    for name, since in (("p256", 60), ("x25519", 30), ("x-wing", 0)):
        times = struct.pack(">QQ", now - since * day, now + 90 * day)
        made += bytes([SUITES[name][0]]) + times + framed(KEYS[name].public)
    same("key list", made, octets("key-list"))
    signature = octets("key-list-signature")
    check_signature("key list", octets("public-250-lists"), "exchange/v1 key list", made, signature)


def check_trust_list():
    file = json.loads(BLOCKS["trust-list"])
    if file["format"] != "exchange/v1 trust list":
        fail("format of the trust list")
    document = base64.b64decode(file["document"], validate=True)
    same("anchor of the trust list", bytes.fromhex(file["signatures"][0]["anchor"]), octets("id-anchor"))
    signature = bytes.fromhex(file["signatures"][0]["signature"])
    check_signature("trust list", octets("public-anchor"), "exchange/v1 trust list", document, signature)
    [country] = json.loads(document)["countries"]
    same("gateway's key in the trust list", bytes.fromhex(country["signing_keys"][0]["key"]), octets("public-250-gateway"))
    [authority] = country["authorities"]
    same("authority's key in the trust list", bytes.fromhex(authority["signing_keys"][0]["key"]), octets("public-250-lists"))


def main():
    check_keys()
    check_reports()
    for name in SUITES:
        check_push(name)
    link = bytes(32)
    for sequence, name in enumerate(SUITES, 1):
        link = check_batch(name, sequence, link)
    check_receipt(link)
    check_key_list()
    check_trust_list()
    print(f"the worked example of proto/README.md holds: {len(BLOCKS)} blocks")


main()
