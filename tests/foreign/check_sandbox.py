#!/usr/bin/env python3
"""Checks the sandbox with boto3, a client that nobody here wrote.

Endpoint and keys come from the environment, as boto3 itself reads them: AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION. Every check makes a bucket of its own.
Prints `N passed, M failed` last; the status is 0 where M is 0.
"""

import base64
import hashlib
import io
import os
import socket
import sys
import traceback
import urllib.error
import urllib.request
import uuid
from unittest import mock

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
REGION = os.environ.get("AWS_REGION", "us-east-1")

ODD_KEYS = [
    "plain", "a b", " blanks ", "a+b", "a%2Fb", "%", "a//b", "/leading", "trailing/", "a&b=c", "<x>&amp;",
    "\"quotes'", "line\nfeed", "carriage\rreturn", "tab\there", "back\\slash", "a?b#c", "grün", "日本語",
    "\uff5ewave", "\U0001f600smile", "\u00e9", "e\u0301", "*~()!'", "null", "x" * 1024, "a;b:c,d@e$f",
]  # fmt: skip


def client(**options):
    style = options.pop("style", "path")
    config = Config(s3={"addressing_style": style}, retries={"total_max_attempts": 1})
    return boto3.client("s3", region_name=REGION, config=config, **options)


S3 = client()


def new_bucket(versioning="Enabled", **options):
    name = f"check-{uuid.uuid4().hex[:20]}"
    S3.create_bucket(Bucket=name, **options)
    if versioning:
        S3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": versioning})
    return name


def put(bucket, key, body=b"data", **options):
    return S3.put_object(Bucket=bucket, Key=key, Body=body, **options).get("VersionId")


def code_of(call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    return None


def entries(bucket, **arguments):
    """All entries as (key, version id, is latest, is marker), sorted, since boto3 gives two lists."""
    found = []
    for page in S3.get_paginator("list_object_versions").paginate(Bucket=bucket, **arguments):
        for name, is_marker in (("Versions", False), ("DeleteMarkers", True)):
            found += [(v["Key"], v["VersionId"], v["IsLatest"], is_marker) for v in page.get(name, [])]
    return sorted(found)


def check_bucket_life():
    bucket = new_bucket(versioning=None)
    assert bucket in [b["Name"] for b in S3.list_buckets()["Buckets"]]
    assert S3.head_bucket(Bucket=bucket)["BucketRegion"] == REGION
    assert S3.get_bucket_location(Bucket=bucket)["LocationConstraint"] == (
        None if REGION == "us-east-1" else REGION
    )
    assert "Status" not in S3.get_bucket_versioning(Bucket=bucket)
    assert code_of(S3.create_bucket, Bucket=bucket) == ("BucketAlreadyOwnedByYou", 409)
    put(bucket, "k")
    assert code_of(S3.delete_bucket, Bucket=bucket) == ("BucketNotEmpty", 409)
    S3.delete_object(Bucket=bucket, Key="k")
    S3.delete_bucket(Bucket=bucket)
    assert code_of(S3.head_bucket, Bucket=bucket) == ("404", 404)
    assert code_of(S3.list_object_versions, Bucket=bucket) == ("NoSuchBucket", 404)


def check_versioning_states():
    bucket = new_bucket(versioning=None)
    assert put(bucket, "k", b"0") is None
    for status in ("Enabled", "Suspended"):
        S3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
        assert S3.get_bucket_versioning(Bucket=bucket)["Status"] == status
        if status == "Enabled":
            kept = put(bucket, "k", b"1")
            assert len(kept) == 32
    assert put(bucket, "k", b"2") == "null"
    assert entries(bucket) == sorted([("k", "null", True, False), ("k", kept, False, False)])
    assert S3.get_object(Bucket=bucket, Key="k", VersionId="null")["Body"].read() == b"2"
    deleted = S3.delete_object(Bucket=bucket, Key="k")
    assert (deleted["DeleteMarker"], deleted["VersionId"]) == (True, "null")
    assert entries(bucket) == sorted([("k", "null", True, True), ("k", kept, False, False)])


def check_unversioned_bucket():
    bucket = new_bucket(versioning=None)
    for body in (b"1", b"22"):
        put(bucket, "k", body)
    assert entries(bucket) == [("k", "null", True, False)]
    assert "VersionId" not in S3.delete_object(Bucket=bucket, Key="k")
    assert entries(bucket) == []


def check_round_trip_of_data():
    bucket = new_bucket()
    body = os.urandom(200_000)
    version = put(
        bucket, "k", body, Metadata={"colour": "blue"}, ContentType="text/x", StorageClass="STANDARD_IA"
    )
    got = S3.get_object(Bucket=bucket, Key="k", VersionId=version)
    assert got["Body"].read() == body
    assert (got["Metadata"], got["ContentType"]) == ({"colour": "blue"}, "text/x")
    assert (got["StorageClass"], got["VersionId"]) == ("STANDARD_IA", version)
    assert got["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    head = S3.head_object(Bucket=bucket, Key="k")
    assert (head["ContentLength"], head["VersionId"]) == (200_000, version)
    part = S3.get_object(Bucket=bucket, Key="k", Range="bytes=10-19")
    assert part["Body"].read() == body[10:20]
    assert part["ContentRange"] == "bytes 10-19/200000"
    assert code_of(S3.get_object, Bucket=bucket, Key="k", Range="bytes=200000-") == ("InvalidRange", 416)
    assert S3.head_object(Bucket=bucket, Key="k")["LastModified"].microsecond == 0
    put(bucket, "empty", b"")
    assert S3.head_object(Bucket=bucket, Key="empty")["ContentLength"] == 0


def check_upload_checksums():
    bucket = new_bucket()
    for algorithm in ("CRC32", "SHA1", "SHA256"):  # boto3 computes the others only with awscrt
        S3.put_object(Bucket=bucket, Key=algorithm, Body=b"123456789", ChecksumAlgorithm=algorithm)
        head = S3.head_object(Bucket=bucket, Key=algorithm, ChecksumMode="ENABLED")
        assert f"Checksum{algorithm}" in head, head
    wrong = base64.b64encode(b"\0\0\0\0").decode()
    assert code_of(S3.put_object, Bucket=bucket, Key="k", Body=b"x", ChecksumCRC32=wrong) == (
        "BadDigest",
        400,
    )
    md5 = base64.b64encode(hashlib.md5(b"y").digest()).decode()
    assert code_of(S3.put_object, Bucket=bucket, Key="k", Body=b"x", ContentMD5=md5) == ("BadDigest", 400)
    assert code_of(S3.put_object, Bucket=bucket, Key="k", Body=b"x", ContentMD5="x") == ("InvalidDigest", 400)
    assert code_of(S3.put_object, Bucket=bucket, Key="k", StorageClass="NOPE") == ("InvalidStorageClass", 400)
    seen = {v["Key"]: v.get("ChecksumAlgorithm") for v in S3.list_object_versions(Bucket=bucket)["Versions"]}
    assert seen == {"CRC32": ["CRC32"], "SHA1": ["SHA1"], "SHA256": ["SHA256"]}, seen


def check_chunked_upload():
    """Over TLS, boto3 sends uploads in chunks with the checksum behind them; here it is made to."""
    bucket = new_bucket()
    body = os.urandom(3_000_000)
    with mock.patch("botocore.httpchecksum.urlparse", return_value=mock.Mock(scheme="https")):
        S3.put_object(Bucket=bucket, Key="k", Body=io.BytesIO(body))
        S3.put_object(Bucket=bucket, Key="l", Body=io.BytesIO(body), ChecksumAlgorithm="SHA256")
    for key, name in (("k", "ChecksumCRC32"), ("l", "ChecksumSHA256")):
        got = S3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        assert got["Body"].read() == body
        assert name in got and "ContentEncoding" not in got, got


def check_delete_markers():
    bucket = new_bucket()
    old = put(bucket, "k", b"old")
    deleted = S3.delete_object(Bucket=bucket, Key="k")
    marker = deleted["VersionId"]
    assert deleted["DeleteMarker"] is True and marker != old
    assert code_of(S3.get_object, Bucket=bucket, Key="k") == ("NoSuchKey", 404)
    assert code_of(S3.head_object, Bucket=bucket, Key="k") == ("404", 404)
    for call in (S3.get_object, S3.head_object):
        try:
            call(Bucket=bucket, Key="k", VersionId=marker)
            raise AssertionError("a marker has no data")
        except ClientError as error:
            answer = error.response["ResponseMetadata"]
            assert answer["HTTPStatusCode"] == 405
            assert answer["HTTPHeaders"]["x-amz-delete-marker"] == "true"
            assert answer["HTTPHeaders"]["x-amz-version-id"] == marker
    assert S3.get_object(Bucket=bucket, Key="k", VersionId=old)["Body"].read() == b"old"
    second = S3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    assert second != marker, "each delete makes a marker of its own"
    for version in (second, marker):
        gone = S3.delete_object(Bucket=bucket, Key="k", VersionId=version)
        assert (gone["DeleteMarker"], gone["VersionId"]) == (True, version)
    assert S3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"old"


def check_single_deletes():
    bucket = new_bucket()
    first, second = put(bucket, "k", b"1"), put(bucket, "k", b"2")
    gone = S3.delete_object(Bucket=bucket, Key="k", VersionId=second)
    assert (gone.get("DeleteMarker"), gone["VersionId"]) == (None, second)
    assert entries(bucket) == [("k", first, True, False)]
    S3.delete_object(Bucket=bucket, Key="k", VersionId=second)
    S3.delete_object(Bucket=bucket, Key="never", VersionId=second)
    assert code_of(S3.get_object, Bucket=bucket, Key="k", VersionId=second) == ("NoSuchVersion", 404)
    for call in (S3.delete_object, S3.get_object):
        assert code_of(call, Bucket=bucket, Key="k", VersionId="made-up") == ("InvalidArgument", 400)
    assert entries(bucket) == [("k", first, True, False)]


def check_listing_of_odd_keys():
    bucket = new_bucket()
    expected = []
    for key in ODD_KEYS:
        first, second = put(bucket, key), put(bucket, key)
        expected += [(key, first, False, False), (key, second, True, False)]
        if len(expected) % 3 == 0:
            expected[-1] = (key, second, False, False)
            expected.append((key, S3.delete_object(Bucket=bucket, Key=key)["VersionId"], True, True))
    expected.sort()
    for size in (1, 2, 3, 7, 1000):
        assert entries(bucket, PaginationConfig={"PageSize": size}) == expected, size
    for key in ODD_KEYS:
        listed = entries(bucket, Prefix=key)
        assert [entry for entry in listed if entry[0] == key] == [e for e in expected if e[0] == key], key
    keys = [
        o["Key"]
        for p in S3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 4})
        for o in p.get("Contents", [])
    ]
    old_keys = [
        o["Key"]
        for p in S3.get_paginator("list_objects").paginate(Bucket=bucket, PaginationConfig={"PageSize": 4})
        for o in p.get("Contents", [])
    ]
    live = sorted({e[0] for e in expected if e[2] and not e[3]}, key=lambda key: key.encode())
    assert keys == live
    assert old_keys == live


def check_order_of_a_page():
    """The raw answer: keys in byte order, newest first, markers among versions."""
    bucket = new_bucket()
    ids = [
        put(bucket, "k", b"1"),
        S3.delete_object(Bucket=bucket, Key="k")["VersionId"],
        put(bucket, "k", b"2"),
    ]
    put(bucket, "\uff5e")
    put(bucket, "\U0001f600")
    bodies = []
    S3.meta.events.register(
        "before-parse.s3.ListObjectVersions",
        lambda response_dict, **_: bodies.append(response_dict["body"].decode()),
    )
    S3.list_object_versions(Bucket=bucket)
    text = bodies[-1]
    assert [text.index(i) for i in reversed(ids)] == sorted(text.index(i) for i in ids)
    assert text.index("<DeleteMarker>") < text.rindex("<Version>")
    assert text.index("%EF%BD%9E") < text.index("%F0%9F%98%80")
    assert "<EncodingType>url</EncodingType>" in text
    assert ".000Z</LastModified>" in text and "<ETag>&quot;" in text


def check_markers_of_a_page():
    bucket = new_bucket()
    ids = [put(bucket, "k", b"x") for _ in range(5)]
    last = put(bucket, "l")
    ids.reverse()
    page = S3.list_object_versions(Bucket=bucket, MaxKeys=2)
    assert page["IsTruncated"] and page["MaxKeys"] == 2
    assert (page["NextKeyMarker"], page["NextVersionIdMarker"]) == ("k", ids[1])
    # The marker's version may go before the next page is asked for.
    for version in ids[:2]:
        S3.delete_object(Bucket=bucket, Key="k", VersionId=version)
    page = S3.list_object_versions(Bucket=bucket, MaxKeys=2, KeyMarker="k", VersionIdMarker=ids[1])
    assert [v["VersionId"] for v in page["Versions"]] == ids[2:4]
    page = S3.list_object_versions(Bucket=bucket, KeyMarker="k")
    assert [v["VersionId"] for v in page["Versions"]] == [last], "a key marker alone is exclusive"
    assert not page["IsTruncated"] and "NextKeyMarker" not in page
    assert code_of(S3.list_object_versions, Bucket=bucket, VersionIdMarker=last) == ("InvalidArgument", 400)
    assert code_of(S3.list_object_versions, Bucket=bucket, KeyMarker="k", VersionIdMarker="zzz") == (
        "InvalidArgument",
        400,
    )
    assert code_of(S3.list_object_versions, Bucket=bucket, MaxKeys=-1) == ("InvalidArgument", 400)
    assert S3.list_object_versions(Bucket=bucket, MaxKeys=5000)["MaxKeys"] == 1000


def check_common_prefixes():
    bucket = new_bucket()
    for key in ("a/1", "a/2", "b", "c d/1", "c d/2/3", "e+f/1"):
        put(bucket, key)
        put(bucket, key)
    for size in (1, 2, 3, 1000):
        prefixes, keys = [], []
        for page in S3.get_paginator("list_object_versions").paginate(
            Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size}
        ):
            prefixes += [p["Prefix"] for p in page.get("CommonPrefixes", [])]
            keys += [v["Key"] for v in page.get("Versions", [])]
        assert (prefixes, keys) == (["a/", "c d/", "e+f/"], ["b", "b"]), (size, prefixes, keys)
        prefixes = []
        for page in S3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size}
        ):
            prefixes += [p["Prefix"] for p in page.get("CommonPrefixes", [])]
        assert prefixes == ["a/", "c d/", "e+f/"], (size, prefixes)
    page = S3.list_object_versions(Bucket=bucket, Delimiter="/", Prefix="c d/")
    assert [p["Prefix"] for p in page["CommonPrefixes"]] == ["c d/2/"]
    assert (page["Prefix"], page["Delimiter"]) == ("c d/", "/")


def check_multi_delete():
    bucket = new_bucket()
    versions = {key: put(bucket, key) for key in ODD_KEYS}
    marker = S3.delete_object(Bucket=bucket, Key="m")["VersionId"]
    objects = [{"Key": k, "VersionId": v} for k, v in versions.items()]
    objects += [{"Key": "m", "VersionId": marker}, {"Key": "never", "VersionId": marker}]
    answer = S3.delete_objects(Bucket=bucket, Delete={"Objects": objects})
    assert "Errors" not in answer, answer["Errors"]
    done = {(d["Key"], d["VersionId"]) for d in answer["Deleted"]}
    assert done == {(o["Key"], o["VersionId"]) for o in objects}
    (of_marker,) = [d for d in answer["Deleted"] if d["Key"] == "m"]
    assert (of_marker["DeleteMarker"], of_marker["DeleteMarkerVersionId"]) == (True, marker)
    assert entries(bucket) == []


def check_multi_delete_without_ids():
    bucket = new_bucket()
    old = put(bucket, "k")
    (deleted,) = S3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}]})["Deleted"]
    assert deleted["DeleteMarker"] is True and "VersionId" not in deleted
    assert entries(bucket) == sorted(
        [("k", deleted["DeleteMarkerVersionId"], True, True), ("k", old, False, False)]
    )


def check_quiet_multi_delete():
    bucket = new_bucket()
    version = put(bucket, "k")
    objects = [{"Key": "k", "VersionId": version}, {"Key": "k", "VersionId": "made-up"}]
    answer = S3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
    assert "Deleted" not in answer
    (error,) = answer["Errors"]
    assert (error["Key"], error["VersionId"], error["Code"]) == ("k", "made-up", "NoSuchVersion")
    assert entries(bucket) == []


def check_limits_of_multi_delete():
    bucket = new_bucket()
    thousand = [{"Key": f"k{n}"} for n in range(1000)]
    answer = S3.delete_objects(Bucket=bucket, Delete={"Objects": thousand})
    assert len(answer["Deleted"]) == 1000
    too_many = thousand + [{"Key": "one more"}]
    assert code_of(S3.delete_objects, Bucket=bucket, Delete={"Objects": too_many}) == ("MalformedXML", 400)
    assert code_of(S3.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": "bad\x01key"}]}) == (
        "MalformedXML",
        400,
    )
    put(bucket, "bad\x01key")
    S3.delete_object(Bucket=bucket, Key="bad\x01key")

    def spoil(request, **_):
        request.headers.replace_header("x-amz-checksum-crc32", "AAAAAA==")

    other = client()
    other.meta.events.register("before-sign.s3.DeleteObjects", spoil)
    assert code_of(other.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": "k1"}]}) == (
        "BadDigest",
        400,
    )

    def forget(request, **_):
        del request.headers["x-amz-checksum-crc32"]

    other = client()
    other.meta.events.register("before-sign.s3.DeleteObjects", forget)
    assert code_of(other.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": "k1"}]}) == (
        "InvalidRequest",
        400,
    )


def check_object_lock():
    bucket = new_bucket(versioning=None, ObjectLockEnabledForBucket=True)
    assert S3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert (
        S3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]["ObjectLockEnabled"]
        == "Enabled"
    )
    assert code_of(
        S3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}
    ) == ("InvalidBucketState", 409)
    until = {"ObjectLockRetainUntilDate": "2099-01-01T00:00:00Z"}
    held = put(bucket, "held", ObjectLockLegalHoldStatus="ON")
    governed = put(bucket, "governed", ObjectLockMode="GOVERNANCE", **until)
    kept = put(bucket, "kept", ObjectLockMode="COMPLIANCE", **until)
    assert S3.get_object_legal_hold(Bucket=bucket, Key="held")["LegalHold"]["Status"] == "ON"
    assert S3.get_object_retention(Bucket=bucket, Key="governed")["Retention"]["Mode"] == "GOVERNANCE"
    all_of_them = [
        {"Key": k, "VersionId": v} for k, v in (("held", held), ("governed", governed), ("kept", kept))
    ]
    answer = S3.delete_objects(Bucket=bucket, Delete={"Objects": all_of_them})
    assert sorted((e["Key"], e["Code"]) for e in answer["Errors"]) == [
        (k, "AccessDenied") for k in ("governed", "held", "kept")
    ]
    assert code_of(S3.delete_object, Bucket=bucket, Key="kept", VersionId=kept) == ("AccessDenied", 403)
    answer = S3.delete_objects(Bucket=bucket, Delete={"Objects": all_of_them}, BypassGovernanceRetention=True)
    assert [d["Key"] for d in answer["Deleted"]] == ["governed"]
    assert S3.delete_object(Bucket=bucket, Key="kept")["DeleteMarker"], "a lock does not keep a marker away"


def check_buckets_without_object_lock():
    bucket = new_bucket()
    version = put(bucket, "k")
    assert code_of(S3.get_object_lock_configuration, Bucket=bucket) == (
        "ObjectLockConfigurationNotFoundError",
        404,
    )
    bypass = {"Bucket": bucket, "BypassGovernanceRetention": True}
    objects = {"Objects": [{"Key": "k", "VersionId": version}]}
    assert code_of(S3.delete_objects, Delete=objects, **bypass) == ("InvalidRequest", 400)
    assert code_of(S3.delete_object, Key="k", VersionId=version, **bypass) == ("InvalidRequest", 400)


def check_expected_owner():
    bucket = new_bucket()
    S3.head_bucket(Bucket=bucket, ExpectedBucketOwner="123456789012")
    assert code_of(S3.list_object_versions, Bucket=bucket, ExpectedBucketOwner="210987654321") == (
        "AccessDenied",
        403,
    )
    objects = {"Objects": [{"Key": "k"}]}
    assert code_of(S3.delete_objects, Bucket=bucket, Delete=objects, ExpectedBucketOwner="210987654321") == (
        "AccessDenied",
        403,
    )
    assert entries(bucket) == []


def check_credentials():
    bucket = new_bucket()
    secret = client(aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"], aws_secret_access_key="wrong")
    assert code_of(secret.list_object_versions, Bucket=bucket) == ("SignatureDoesNotMatch", 403)
    stranger = client(aws_access_key_id="stranger", aws_secret_access_key="x")
    assert code_of(stranger.list_object_versions, Bucket=bucket) == ("InvalidAccessKeyId", 403)
    token = client(
        aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        aws_session_token="some-token",
    )
    assert token.list_object_versions(Bucket=bucket)["IsTruncated"] is False
    try:
        urllib.request.urlopen(f"{ENDPOINT}/{bucket}?versions")
        raise AssertionError("a request without a signature was answered")
    except urllib.error.HTTPError as error:
        body = error.read().decode()
        assert error.code == 403 and "<Code>AccessDenied</Code>" in body
        assert f"<RequestId>{error.headers['x-amz-request-id']}</RequestId>" in body
        assert error.headers["x-amz-id-2"] and error.headers["Server"] == "AmazonS3"


def check_wrong_region():
    bucket = new_bucket()
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    other = boto3.client("s3", region_name="ap-south-2", config=config)
    # boto3 reads the region from the refusal and signs again.
    assert other.list_object_versions(Bucket=bucket)["IsTruncated"] is False


def check_virtual_hosts():
    """A bucket as a host. Names below localhost do not resolve everywhere: here they are made to."""
    bucket = new_bucket()
    version = put(bucket, "a/b c")
    resolve = socket.getaddrinfo

    def resolve_below_localhost(host, *rest, **options):
        below = host.endswith(".localhost")
        return resolve("127.0.0.1" if below else host, *rest, **options)

    virtual = client(style="virtual", endpoint_url=ENDPOINT.replace("127.0.0.1", "localhost"))
    with mock.patch("socket.getaddrinfo", resolve_below_localhost):
        page = virtual.list_object_versions(Bucket=bucket)
        assert [v["VersionId"] for v in page["Versions"]] == [version]
        assert virtual.get_object(Bucket=bucket, Key="a/b c")["Body"].read() == b"data"


def check_what_is_not_there():
    bucket = new_bucket()
    for call in (S3.get_bucket_acl, S3.get_bucket_policy, S3.get_bucket_lifecycle_configuration):
        assert code_of(call, Bucket=bucket) == ("NotImplemented", 501), call
    source = {"Bucket": bucket, "Key": "k"}
    put(bucket, "k")
    assert code_of(S3.copy_object, Bucket=bucket, Key="l", CopySource=source) == ("NotImplemented", 501)
    assert [e[0] for e in entries(bucket)] == ["k"]


def main():
    passed, failed = 0, 0
    for name, check in sorted(globals().items()):
        if not name.startswith("check_") or not callable(check):
            continue
        try:
            check()
            passed += 1
        except Exception:
            failed += 1
            print(f"--- {name}", file=sys.stderr)
            traceback.print_exc()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
