#!/usr/bin/env python3
"""Checks the sandbox with boto3, a client that nobody here wrote.

Endpoint and keys come from the environment, as boto3 itself reads them: AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION. Every check makes a bucket of its own.
Prints `N passed, M failed` last; the status is 0 where M is 0.
"""

import base64
import datetime
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
from boto3.s3.transfer import TransferConfig
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


def copy(bucket, key, source, version=None, **options):
    source = {"Bucket": bucket, "Key": source} | ({"VersionId": version} if version else {})
    return S3.copy_object(Bucket=bucket, Key=key, CopySource=source, **options)


def tags_of(bucket, key):
    return {t["Key"]: t["Value"] for t in S3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]}


def check_copy():
    bucket = new_bucket()
    old = put(bucket, "k", b"old", Metadata={"colour": "blue"}, ContentType="text/x", Tagging="a=b+c",
              StorageClass="STANDARD_IA", WebsiteRedirectLocation="/there", CacheControl="no-store")  # fmt: skip
    put(bucket, "k", b"new")
    done = copy(bucket, "l", "k", old)
    assert done["CopySourceVersionId"] == old
    assert done["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(b"old").hexdigest()}"'
    got = S3.get_object(Bucket=bucket, Key="l", VersionId=done["VersionId"])
    assert got["Body"].read() == b"old"
    assert (got["Metadata"], got["ContentType"], got["CacheControl"]) == ({"colour": "blue"}, "text/x", "no-store")
    assert "WebsiteRedirectLocation" not in got and "StorageClass" not in got
    assert (got["TagCount"], tags_of(bucket, "l")) == (1, {"a": "b c"})
    copy(bucket, "m", "k", old, MetadataDirective="REPLACE", Metadata={"x": "y"}, TaggingDirective="REPLACE",
         Tagging="z=1", StorageClass="GLACIER_IR", ChecksumAlgorithm="SHA256")  # fmt: skip
    head = S3.head_object(Bucket=bucket, Key="m", ChecksumMode="ENABLED")
    assert (head["Metadata"], head["StorageClass"], tags_of(bucket, "m")) == ({"x": "y"}, "GLACIER_IR", {"z": "1"})
    assert head["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(b"old").digest()).decode()
    marker = S3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    for version, expected in ((None, ("NoSuchKey", 404)), (marker, ("InvalidRequest", 400))):
        assert code_of(lambda v=version: copy(bucket, "n", "k", v)) == expected
    assert code_of(lambda: copy(bucket, "l", "l")) == ("InvalidRequest", 400)


def check_copy_of_odd_keys():
    bucket = new_bucket()
    for place, key in enumerate(ODD_KEYS):
        put(bucket, key, str(place).encode())
    for place, key in enumerate(ODD_KEYS):
        copy(bucket, "copy", key)
        assert S3.get_object(Bucket=bucket, Key="copy")["Body"].read() == str(place).encode(), key


def check_conditions_of_writes():
    bucket = new_bucket()
    put(bucket, "k", b"1")
    etag = f'"{hashlib.md5(b"1").hexdigest()}"'
    failed, there = ("PreconditionFailed", 412), {"IfNoneMatch": "*"}
    assert code_of(lambda: copy(bucket, "l", "k", CopySourceIfMatch='"x"')) == failed
    assert code_of(lambda: copy(bucket, "l", "k", CopySourceIfNoneMatch=etag)) == failed
    copy(bucket, "l", "k", CopySourceIfMatch=etag)
    assert code_of(lambda: put(bucket, "l", **there)) == failed
    assert code_of(lambda: put(bucket, "l", IfMatch='"x"')) == failed
    assert code_of(lambda: put(bucket, "none", IfMatch=etag)) == ("NoSuchKey", 404)
    put(bucket, "l", IfMatch=etag)
    S3.delete_object(Bucket=bucket, Key="l")
    put(bucket, "l", **there)
    assert code_of(S3.get_object, Bucket=bucket, Key="k", IfMatch='"x"') == failed
    assert code_of(S3.get_object, Bucket=bucket, Key="k", IfNoneMatch=etag) == ("304", 304)


MIB = 1 << 20


def check_multipart_upload():
    bucket = new_bucket()
    body = os.urandom(12 * MIB + 7)
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    extra = {"Metadata": {"m": "1"}, "Tagging": "a=b", "StorageClass": "STANDARD_IA"}
    S3.upload_fileobj(io.BytesIO(body), bucket, "k", Config=config, ExtraArgs=extra)
    parts = [body[at : at + 5 * MIB] for at in range(0, len(body), 5 * MIB)]
    md5s = b"".join(hashlib.md5(part).digest() for part in parts)
    head = S3.head_object(Bucket=bucket, Key="k", PartNumber=3)
    assert head["ETag"] == f'"{hashlib.md5(md5s).hexdigest()}-3"'
    assert (head["PartsCount"], head["ContentLength"], head["Metadata"]) == (3, 2 * MIB + 7, {"m": "1"})
    assert S3.get_object(Bucket=bucket, Key="k")["Body"].read() == body
    assert S3.get_object(Bucket=bucket, Key="k", PartNumber=2)["Body"].read() == parts[1]
    # The same layout again, by copies: what boto3 itself makes of a large copy.
    S3.copy({"Bucket": bucket, "Key": "k"}, bucket, "l", Config=config)
    copied = S3.head_object(Bucket=bucket, Key="l")
    assert copied["ETag"] == head["ETag"]
    assert "StorageClass" not in copied and "TagCount" not in copied, "parts carry nothing with them"
    assert S3.get_object(Bucket=bucket, Key="l")["Body"].read() == body
    assert copy(bucket, "m", "k")["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'


def check_parts_one_by_one():
    bucket = new_bucket()
    made = S3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256")
    upload = {"Bucket": bucket, "Key": "k", "UploadId": made["UploadId"]}
    bodies = {2: b"b" * (5 * MIB), 4: b"tail"}
    sent = [
        {k: S3.upload_part(**upload, PartNumber=n, Body=b, ChecksumAlgorithm="SHA256")[k] for k in ("ETag", "ChecksumSHA256")}
        | {"PartNumber": n}
        for n, b in bodies.items()
    ]  # fmt: skip
    page = S3.list_parts(**upload, MaxParts=1)
    assert ([p["PartNumber"] for p in page["Parts"]], page["IsTruncated"]) == ([2], True)
    rest = S3.list_parts(**upload, PartNumberMarker=page["NextPartNumberMarker"])
    assert [(p["PartNumber"], p["Size"]) for p in rest["Parts"]] == [(4, 4)]
    assert [u["UploadId"] for u in S3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [made["UploadId"]]
    call = S3.complete_multipart_upload
    assert code_of(call, **upload, MultipartUpload={"Parts": sent[::-1]}) == ("InvalidPartOrder", 400)
    wrong = [sent[0] | {"ETag": sent[1]["ETag"]}]
    assert code_of(call, **upload, MultipartUpload={"Parts": wrong}) == ("InvalidPart", 400)
    done = call(**upload, MultipartUpload={"Parts": sent}, IfNoneMatch="*")
    sums = b"".join(hashlib.sha256(body).digest() for body in bodies.values())
    expected = base64.b64encode(hashlib.sha256(sums).digest()).decode() + "-2"
    assert (done["ChecksumSHA256"], done["ChecksumType"]) == (expected, "COMPOSITE")
    assert code_of(call, **upload, MultipartUpload={"Parts": sent}) == ("NoSuchUpload", 404)
    other = S3.create_multipart_upload(Bucket=bucket, Key="l")["UploadId"]
    S3.abort_multipart_upload(Bucket=bucket, Key="l", UploadId=other)
    assert "Uploads" not in S3.list_multipart_uploads(Bucket=bucket)
    assert code_of(S3.list_parts, Bucket=bucket, Key="l", UploadId=other) == ("NoSuchUpload", 404)


def check_tags():
    bucket = new_bucket()
    old, new = put(bucket, "k"), put(bucket, "k")
    S3.put_object_tagging(Bucket=bucket, Key="k", VersionId=old, Tagging={"TagSet": [{"Key": "a&", "Value": "<b>"}]})
    read = S3.get_object_tagging(Bucket=bucket, Key="k", VersionId=old)
    assert (read["TagSet"], read["VersionId"]) == ([{"Key": "a&", "Value": "<b>"}], old)
    assert S3.get_object_tagging(Bucket=bucket, Key="k") | {"ResponseMetadata": 0} == {
        "TagSet": [], "VersionId": new, "ResponseMetadata": 0,
    }  # fmt: skip
    assert S3.head_object(Bucket=bucket, Key="k", VersionId=old)["TagCount"] == 1
    S3.delete_object_tagging(Bucket=bucket, Key="k", VersionId=old)
    assert S3.get_object_tagging(Bucket=bucket, Key="k", VersionId=old)["TagSet"] == []
    twice = {"TagSet": [{"Key": "a", "Value": "1"}] * 2}
    assert code_of(S3.put_object_tagging, Bucket=bucket, Key="k", Tagging=twice) == ("InvalidTag", 400)


def check_lock_of_versions():
    bucket = new_bucket(versioning=None, ObjectLockEnabledForBucket=True)
    put(bucket, "k")
    until = datetime.datetime(2099, 1, 1, tzinfo=datetime.timezone.utc)
    options = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until, "ObjectLockLegalHoldStatus": "ON"}
    copy(bucket, "l", "k", **options)
    head = S3.head_object(Bucket=bucket, Key="l")
    assert {name: head[name] for name in options} == options
    copy(bucket, "m", "l")
    assert not set(options) & set(S3.head_object(Bucket=bucket, Key="m")), "a lock is not copied"
    retention = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
    S3.put_object_retention(Bucket=bucket, Key="m", Retention=retention)
    S3.put_object_legal_hold(Bucket=bucket, Key="m", LegalHold={"Status": "ON"})
    assert S3.get_object_retention(Bucket=bucket, Key="m")["Retention"] == retention
    sooner = {"Mode": "GOVERNANCE", "RetainUntilDate": until.replace(year=2098)}
    arguments = {"Bucket": bucket, "Key": "m", "Retention": sooner}
    assert code_of(S3.put_object_retention, **arguments) == ("AccessDenied", 403)
    S3.put_object_retention(**arguments, BypassGovernanceRetention=True)


def check_access_control_lists():
    bucket = new_bucket()
    put(bucket, "k", ACL="public-read")
    acl = S3.get_object_acl(Bucket=bucket, Key="k")
    everyone = "http://acs.amazonaws.com/groups/global/AllUsers"
    assert [(g["Grantee"].get("URI"), g["Permission"]) for g in acl["Grants"]] == [
        (None, "FULL_CONTROL"),
        (everyone, "READ"),
    ]
    copy(bucket, "l", "k")
    assert len(S3.get_object_acl(Bucket=bucket, Key="l")["Grants"]) == 1, "a list is not copied"
    policy = {name: acl[name] for name in ("Grants", "Owner")}
    S3.put_object_acl(Bucket=bucket, Key="l", AccessControlPolicy=policy)
    assert S3.get_object_acl(Bucket=bucket, Key="l")["Grants"] == acl["Grants"]


def check_restore():
    bucket = new_bucket()
    put(bucket, "k", StorageClass="GLACIER")
    assert code_of(S3.get_object, Bucket=bucket, Key="k") == ("InvalidObjectState", 403)
    assert code_of(lambda: copy(bucket, "l", "k")) == ("InvalidObjectState", 403)
    restore = {"Bucket": bucket, "Key": "k", "RestoreRequest": {"Days": 1, "GlacierJobParameters": {"Tier": "Bulk"}}}
    for status in (202, 200):
        assert S3.restore_object(**restore)["ResponseMetadata"]["HTTPStatusCode"] == status
    assert S3.head_object(Bucket=bucket, Key="k")["Restore"].startswith('ongoing-request="false"')
    listed = S3.list_object_versions(Bucket=bucket, OptionalObjectAttributes=["RestoreStatus"])["Versions"]
    assert listed[0]["RestoreStatus"]["IsRestoreInProgress"] is False
    copy(bucket, "l", "k")
    restore["Key"] = "l"
    assert code_of(S3.restore_object, **restore) == ("InvalidObjectState", 403)


def check_encryption():
    bucket = new_bucket()
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": b"k" * 32}
    plain = f'"{hashlib.md5(b"data").hexdigest()}"'
    put(bucket, "c", **key)
    assert S3.get_object(Bucket=bucket, Key="c", **key)["Body"].read() == b"data"
    assert code_of(S3.get_object, Bucket=bucket, Key="c") == ("InvalidRequest", 400)
    of_source = {f"CopySource{name}": value for name, value in key.items()}
    kms = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "some-key", "BucketKeyEnabled": True}
    done = copy(bucket, "d", "c", **of_source, **kms)
    assert {name: done[name] for name in kms} == kms and done["CopyObjectResult"]["ETag"] != plain
    back = copy(bucket, "e", "d", ServerSideEncryption="AES256")
    assert (back["ServerSideEncryption"], back["CopyObjectResult"]["ETag"]) == ("AES256", plain)


def check_what_is_not_there():
    bucket = new_bucket()
    for call in (S3.get_bucket_acl, S3.get_bucket_policy, S3.get_bucket_lifecycle_configuration):
        assert code_of(call, Bucket=bucket) == ("NotImplemented", 501), call
    put(bucket, "k")
    call = S3.get_object_attributes
    assert code_of(call, Bucket=bucket, Key="k", ObjectAttributes=["ETag"]) == ("NotImplemented", 501)


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
