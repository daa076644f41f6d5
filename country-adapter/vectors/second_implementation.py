#!/usr/bin/env python3
"""Derives the four vectors of Herald Secured (ours-*), a client id, GAEN identifiers, a GAEN export and a batch of EFGS
without any code of this project.

Written from the text of the vectors and the standards they name: SEC 1, RFC 2104, 4226, 5869, 6238 and 9180, and
from the public fields of EFGS and of the Exposure Key export file format. Needs
the package `cryptography`. Ends with 1 at the first mismatch.
"""

import hashlib
import hmac
import io
import json
import pathlib
import struct
import sys
import zipfile

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
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


# Protocol buffers: a field's tag, and its value by wire type (varint 0, fixed64 1, octets 2).


def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def number_field(tag, number):
    return varint(tag << 3) + varint(number)


def signed_field(tag, number):
    return number_field(tag, number * 2 if number >= 0 else -number * 2 - 1)


def fixed64_field(tag, number):
    return varint(tag << 3 | 1) + struct.pack("<Q", number)


def octets_field(tag, value):
    return varint(tag << 3 | 2) + varint(len(value)) + value


def read_fields(message):
    """All fields of a message: tag and value."""
    at, fields = 0, []

    def next_varint():
        nonlocal at
        number = shift = 0
        while True:
            octet = message[at]
            at, number, shift = at + 1, number | (octet & 0x7F) << shift, shift + 7
            if octet < 0x80:
                return number

    while at < len(message):
        tag, kind = divmod(next_varint(), 8)
        length = {0: 0, 1: 8, 2: 0}[kind]
        value = next_varint() if kind in (0, 2) else None
        if kind == 2:
            length = value
        if kind in (1, 2):
            value, at = message[at : at + length], at + length
        fields.append((tag, value))
    return fields


# An export of two keys: octet, transmission risk, start, period, report type, days since onset.
EXPORTED = [(0x11, 5, 20_700 * 144, 144, 1, -3), (0x22, 0, 20_701 * 144, 60, 2, None)]


def export_bin():
    info = octets_field(3, b"v1") + octets_field(4, b"276") + octets_field(5, b"1.2.840.10045.4.3.2")
    export = fixed64_field(1, 1_788_480_000) + fixed64_field(2, 1_789_689_600) + octets_field(3, b"DE")
    export += number_field(4, 1) + number_field(5, 1) + octets_field(6, info)
    for octet, risk, start, period, report_type, onset in EXPORTED:
        key = octets_field(1, bytes([octet]) * 16) + number_field(2, risk) + number_field(3, start)
        key += number_field(4, period) + number_field(5, report_type)
        key += b"" if onset is None else signed_field(6, onset)
        export += octets_field(7, key)
    return b"EK Export v1    " + export, info


def check_export():
    """The exports that this project and this script have signed: each reads what the other wrote."""
    bin, _ = export_bin()
    for name in ("gaen-export", "gaen-export-python"):
        folder = pathlib.Path(__file__).resolve().parent
        archive = zipfile.ZipFile(io.BytesIO((folder / f"{name}.zip").read_bytes()))
        same(f"export.bin of {name}", archive.read("export.bin"), bin)
        public = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, octets((folder / f"{name}.pub.hex").read_text()))
        [(tag, listed)] = read_fields(archive.read("export.sig"))
        signed = dict(read_fields(listed))
        if tag != 1 or (signed[2], signed[3]) != (1, 1):
            fail(f"export.sig of {name}")
        same(f"info of {name}", signed[1], export_bin()[1])
        check_signature(name, public, signed[4], bin)


def check_signature(name, public, signature, signed):
    global found
    try:
        public.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        fail(f"the signature of {name}")
    try:
        public.verify(signature, signed + b" ", ec.ECDSA(hashes.SHA256()))
        fail(f"the signature of {name} fits other octets")
    except InvalidSignature:
        found += 1
        print(f"same      signature of {name}")


def check_efgs():
    key = octets_field(1, bytes([7]) * 16) + number_field(2, 20_700 * 144) + number_field(3, 144)
    key += number_field(4, 3) + octets_field(5, b"FR") + octets_field(6, b"AT")
    key += number_field(7, 1) + signed_field(8, -2)
    batch = octets_field(1, key)
    same("batch of EFGS", batch, in_source("src/diagnosis/efgs.rs", batch))
    [(_, read)] = read_fields(batch)
    same("fields of its key", bytes(tag for tag, _ in read_fields(read)), bytes(range(1, 9)))


def write_export():
    """Writes the export of this script anew, with a new key: `second_implementation.py --write-export`."""
    folder = pathlib.Path(__file__).resolve().parent
    key = ec.generate_private_key(CURVE)
    bin, info = export_bin()
    signature = octets_field(1, info) + number_field(2, 1) + number_field(3, 1)
    signature += octets_field(4, key.sign(bin, ec.ECDSA(hashes.SHA256())))
    with zipfile.ZipFile(folder / "gaen-export-python.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("export.bin"), bin)
        archive.writestr(zipfile.ZipInfo("export.sig"), octets_field(1, signature))
    (folder / "gaen-export-python.pub.hex").write_text(point(key).hex())


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
    check_export()
    check_efgs()
    print(f"the vectors of Herald Secured, client ids, GAEN and EFGS hold: {found} values")


if sys.argv[1:] == ["--write-export"]:
    write_export()
else:
    main()
