"""The usual loop with the AWS SDK for Python: list a page, delete what is on it, list the next one.

One request after another; what fails is printed and counts as an error at the end, as a script of this
kind would do it. Endpoint and credentials come from the environment.
"""

import argparse
import sys

import boto3
from botocore.config import Config


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bucket")
    bucket = parser.parse_args().bucket
    client = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))
    refused = 0
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        entries = page.get("Versions", []) + page.get("DeleteMarkers", [])
        if not entries:
            continue
        objects = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
        answer = client.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        refused += len(answer.get("Errors", []))
    if refused:
        print(f"{refused} versions were not deleted", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
