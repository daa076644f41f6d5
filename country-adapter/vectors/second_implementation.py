#!/usr/bin/env python3
"""Derives the four vectors of Herald Secured (ours-*), a client id and GAEN identifiers without any code of this project.

Written from the text of the vectors and the standards they name: SEC 1, RFC 2104, 4226, 5869, 6238 and 9180. Needs
the package `cryptography`. Ends with 1 at the first mismatch.
"""

import hashlib
import hmac
import json
import pathlib
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

FILE = pathlib.Path(__file__).resolve().parents[2] / "proto" / "vectors" / "herald-vectors.json"
CURVE = ec.SECP256R1()
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# HPKE: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-128-GCM.
KEM_ID, KDF_ID, AEAD_ID = 0x0010, 0x0001, 0x0001
HEADER_LEN, X_LEN, TAG_LEN = 5, 32, 16
found = 0


def fail(what):
    print(f"MISMATCH: {what}")
    sys.exit(1)


def same(what, derived, published):
    global found
    if derived != published:
        fail(f"{what}: {derived.hex()} is not {published.hex()}")
    found += 1
    print(f"same      {what}")


def vector(name):
    vectors = json.loads(FILE.read_text(encoding="utf-8"))["vectors"]
    matching = [vector for vector in vectors if vector["id"] == name]
    if len(matching) != 1:
        fail(f"{FILE.name} has {len(matching)} vectors {name}")
    return matching[0]["inputs"], matching[0]["expected"]


def octets(text):
    return bytes.fromhex(text)


def u32(number):
    return struct.pack(">I", number)


# Primitives.


def sha256(data):
    return hashlib.sha256(data).digest()


def hmac_sha256(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def hkdf_extract(salt, ikm):
    return hmac_sha256(salt or bytes(32), ikm)


def hkdf_expand(prk, info, length):
    out, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac_sha256(prk, block + info + bytes([counter]))
        out += block
    return out[:length]


def private(scalar):
    return ec.derive_private_key(int.from_bytes(scalar, "big"), CURVE)


def point(key):
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def agree(key, encoded):
    return key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(CURVE, encoded))


# HPKE (RFC 9180), mode Base. The names are the RFC's.

KEM_SUITE = b"KEM" + struct.pack(">H", KEM_ID)
SUITE = b"HPKE" + struct.pack(">HHH", KEM_ID, KDF_ID, AEAD_ID)


def labeled_extract(suite_id, salt, label, ikm):
    return hkdf_extract(salt, b"HPKE-v1" + suite_id + label + ikm)


def labeled_expand(suite_id, prk, label, info, length):
    return hkdf_expand(prk, struct.pack(">H", length) + b"HPKE-v1" + suite_id + label + info, length)


def derive_key_pair(ikm):
    dkp_prk = labeled_extract(KEM_SUITE, b"", b"dkp_prk", ikm)
    for counter in range(256):
        candidate = labeled_expand(KEM_SUITE, dkp_prk, b"candidate", bytes([counter]), 32)
        if 0 < int.from_bytes(candidate, "big") < ORDER:
            return private(candidate)
    fail("no key follows from the seed")


def shared_secret(dh, enc, public):
    eae_prk = labeled_extract(KEM_SUITE, b"", b"eae_prk", dh)
    return labeled_expand(KEM_SUITE, eae_prk, b"shared_secret", enc + public, 32)


def key_schedule(secret, info):
    psk_id_hash = labeled_extract(SUITE, b"", b"psk_id_hash", b"")
    info_hash = labeled_extract(SUITE, b"", b"info_hash", info)
    context = bytes([0]) + psk_id_hash + info_hash
    prk = labeled_extract(SUITE, secret, b"secret", b"")
    return labeled_expand(SUITE, prk, b"key", context, 16), labeled_expand(SUITE, prk, b"base_nonce", context, 12)


def seal_base(public, seed, info, aad, text):
    ephemeral = derive_key_pair(seed)
    enc = point(ephemeral)
    key, nonce = key_schedule(shared_secret(agree(ephemeral, public), enc, public), info)
    return enc, AESGCM(key).encrypt(nonce, text, aad)


def open_base(recipient, enc, info, aad, sealed):
    key, nonce = key_schedule(shared_secret(agree(recipient, enc), enc, point(recipient)), info)
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except InvalidTag:
        fail("the service token does not open")


# The four vectors.


def totp31(key, counter):
    tag = hmac_sha256(key, struct.pack(">Q", counter))
    at = tag[31] & 0x0F
    return u32(int.from_bytes(tag[at : at + 4], "big") & 0x7FFFFFFF)


def check_totp31():
    inputs, expected = vector("ours-totp31")
    same("step of the time code", u32(inputs["unix"] // 900), u32(inputs["step"]))
    same("time code", totp31(octets(inputs["uuid"]), inputs["step"]), octets(expected["hex"]))


def confirmation_token(inputs):
    said = sha256(octets(inputs["request"])) + octets(inputs["response_header"]) + octets(inputs["epkB_x"])
    return hmac_sha256(octets(inputs["day_key"]), b"hgw/ect/v1" + said + u32(inputs["step"]))[:16]


def check_confirmation_token():
    inputs, expected = vector("ours-ect")
    same("confirmation token", confirmation_token(inputs), octets(expected["hex"]))


def check_service_token():
    inputs, expected = vector("ours-est")
    fields, key_id = inputs["fields"], octets(inputs["key_id"])
    header = octets(vector("ours-ect")[0]["response_header"])
    authority = private(octets(inputs["authority_private_key"]))
    same("authority's public key", point(authority), octets(inputs["authority_public_key"]))
    uuid = octets(fields["uuid"])
    text = uuid + octets(fields["geo"]) + octets(fields["model_hash"])
    text += totp31(uuid, fields["step"]) + u32(fields["step"])
    same("contents of the service token", text, octets(inputs["plaintext"]))
    info = b"hgw/est/v1" + header + key_id
    same("info of the service token", info, octets(inputs["info"]))
    aad = confirmation_token(vector("ours-ect")[0])
    same("AAD of the service token", aad, octets(inputs["aad"]))
    seed = inputs["hpke_ikmE"].split('"')[1].encode("ascii")
    enc, sealed = seal_base(point(authority), seed, info, aad, text)
    token = octets(expected["hex"])
    same("service token, sealed", key_id + enc + sealed, token)
    same("service token, opened", open_base(authority, token[2:67], info, aad, token[67:]), text)
    same("length of the service token", u32(len(token)), u32(expected["length"]))


def half(number):
    return struct.pack(">e", number)


def check_secured_response():
    inputs, expected = vector("ours-secured-response")
    request = octets(inputs["request"])
    receiver, transmitter = private(octets(inputs["receiver_private_key"])), private(octets(inputs["transmitter_private_key"]))
    same("request", bytes.fromhex("2000fa0003") + point(receiver), request)
    header, x = bytes.fromhex("20033a0004"), point(transmitter)[1:33]
    shared = agree(transmitter, request[HEADER_LEN:])
    same("shared secret, transmitter", shared, octets(expected["shared_x"]))
    # The receiver knows x alone and takes the point whose y is even.
    same("shared secret, receiver", agree(receiver, b"\x02" + x), octets(expected["shared_x"]))

    said = request + header + x
    prk = hkdf_extract(sha256(said), shared)
    key, iv = hkdf_expand(prk, b"hgw/sec/v1 key", 16), hkdf_expand(prk, b"hgw/sec/v1 iv", 12)
    same("key", key, octets(expected["key"]))
    same("iv", iv, octets(expected["iv"]))
    same("receipt", hkdf_expand(prk, b"hgw/sec/v1 receipt", 16), octets(expected["receipt"]))

    block = half(inputs["rssi"]) + half(inputs["txpower"]) + octets(vector("ours-est")[1]["hex"])
    block += octets(vector("ours-ect")[1]["hex"]) + octets(vector("ours-est")[0]["fields"]["model_hash"])
    block += octets(inputs["ext"])
    same("block", block, octets(inputs["plaintext_block"]))
    frame = octets(expected["frame"])
    same("response, closed", header + x + AESGCM(key).encrypt(iv, block, said), frame)
    same("response, opened", AESGCM(key).decrypt(iv, frame[HEADER_LEN + X_LEN :], said), block)
    same("length of the response", u32(HEADER_LEN + X_LEN + len(block) + TAG_LEN), u32(expected["length"]))


def check_client_id():
    tag = hmac.new(bytes([7]) * 32, b"hgw/cid/v1" + struct.pack(">Q", 1888889), hashlib.sha256).digest()
    same("client id", tag[:16], in_source("src/herald/secured/client_id.rs", tag[:16]))


def check_gaen():
    key = bytes.fromhex("75c734c6dd1a782de7a965da5eb93125")
    rolling = hkdf_expand(hmac.new(bytes(32), key, hashlib.sha256).digest(), b"EN-RPIK", 16)
    for interval in (2642976, 2643119):
        block = b"EN-RPI" + bytes(6) + struct.pack("<I", interval)
        encryptor = Cipher(algorithms.AES(rolling), modes.ECB()).encryptor()
        identifier = encryptor.update(block) + encryptor.finalize()
        same(f"GAEN identifier {interval}", identifier, in_source("src/herald/gaen.rs", identifier))


def in_source(name, octets):
    """The octets, if a test of that file holds its code to them."""
    text = (pathlib.Path(__file__).resolve().parents[1] / name).read_text()
    return octets if octets.hex() in text else b""


def main():
    check_totp31()
    check_confirmation_token()
    check_service_token()
    check_secured_response()
    check_client_id()
    check_gaen()
    print(f"the vectors of Herald Secured, client ids and GAEN hold: {found} values")


main()
