"""What deploy/ holds, checked by the tools of those who will read it.

    python check.py [--systemd]

Needs the packages of requirements.txt; `--systemd` also needs systemd-analyze. Exit 1 where something is wrong.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
# podFailurePolicy is stable from 1.31 on; the newest that the package knows is checked too.
KUBERNETES = ("1.31", None)
# systemd-analyze security: 0 is shut in, 10 is free.
EXPOSURE_MAX = 1.5
# What an end may take: 25 s for what is in flight, then figures and notices that nobody takes.
END_SECS_MIN = 90

problems = []


def problem(text):
    problems.append(text)
    print(f"PROBLEM {text}")


def documents():
    with open(DEPLOY / "kubernetes" / "cronjob.yaml", encoding="utf-8") as file:
        return list(yaml.safe_load_all(file))


def check_schema():
    for document in documents():
        for version in KUBERNETES:
            name = f"{document['kind']}/{document['metadata']['name']}"
            try:
                chosen = version or kubernetes_validate.latest_version()
                kubernetes_validate.validate(document, chosen, strict=True)
                print(f"ok      {name} against Kubernetes {chosen}")
            except kubernetes_validate.ValidationError as error:
                problem(f"{name}: {error}")


def check_cronjob():
    """What no schema knows."""
    by_kind = {document["kind"]: document for document in documents()}
    cron = by_kind["CronJob"]["spec"]
    job = cron["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]

    def expect(holds, what):
        print(f"ok      {what}") if holds else problem(what)

    expect(cron["concurrencyPolicy"] == "Forbid", "one run at a time")
    expect(pod["restartPolicy"] == "Never", "restartPolicy: Never, as podFailurePolicy demands")
    expect(pod["terminationGracePeriodSeconds"] >= END_SECS_MIN, "SIGTERM is given the time of a drain and of an end")
    security, of_pod = container["securityContext"], pod["securityContext"]
    expect(security["readOnlyRootFilesystem"], "the root file system is read-only")
    expect(not security["allowPrivilegeEscalation"], "no privileges can be gained")
    expect(security["capabilities"]["drop"] == ["ALL"], "no capabilities")
    expect(of_pod["runAsNonRoot"] and of_pod["runAsUser"] > 0, "not root")
    expect(of_pod["seccompProfile"]["type"] == "RuntimeDefault", "system calls are filtered")
    rules = job["podFailurePolicy"]["rules"]
    names = {rule["onExitCodes"]["containerName"] for rule in rules if "onExitCodes" in rule}
    expect(names == {container["name"]}, "the failure policy names the container")
    expect(rules[0]["action"] == "Ignore", "a disruption is nobody's failure")
    codes = [code for rule in rules if "onExitCodes" in rule for code in rule["onExitCodes"]["values"]]
    expect(len(codes) == len(set(codes)), "no exit code is treated twice")
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    expect(mounts.keys() == {volume["name"] for volume in pod["volumes"]}, "every volume is mounted")
    ports = {port["name"] for port in container["ports"]}
    expect(container["readinessProbe"]["httpGet"]["port"] in ports, "the readinessProbe asks a port that there is")
    expect("livenessProbe" not in container, "a run whose listener is missing is not killed")
    text = by_kind["ConfigMap"]["data"]["job.yaml"]
    metrics = yaml.safe_load(text)["metrics"]
    expect("pushgateway" in metrics, "figures remain when the pod is gone")
    listen = metrics["listen"]
    expect(int(listen.rsplit(":", 1)[1]) == container["ports"][0]["containerPort"], "the job listens on that port")
    return text


def check_job(binary, text):
    """The job of the ConfigMap is one."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        ended = subprocess.run([binary, "check", file.name], capture_output=True, text=True)
    if ended.returncode:
        problem(f"the job of the ConfigMap: {ended.stderr}")
    else:
        print("ok      the job of the ConfigMap is valid")


def check_containerfile():
    ended = subprocess.run(["hadolint", str(DEPLOY / "Containerfile")], capture_output=True, text=True)
    if ended.returncode or ended.stdout:
        problem(f"hadolint: {ended.stdout}{ended.stderr}")
    else:
        print("ok      hadolint finds nothing")
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    wanted = re.search(r'^rust-version = "(\S+)"', (ROOT / "Cargo.toml").read_text(encoding="utf-8"), re.M).group(1)
    built = re.search(r"library/rust:(\d+\.\d+)", text).group(1)
    if built != wanted:
        problem(f"the image is built with Rust {built}, Cargo.toml asks for {wanted}")
    version = re.search(r'^version = "(\S+)"', (ROOT / "Cargo.toml").read_text(encoding="utf-8"), re.M).group(1)
    if f"ARG VERSION={version}\n" not in text:
        problem(f"the image is not labelled {version}")


def check_systemd():
    """The units as a machine would read them: a program in place of s3sweep, an instance in place of %i."""
    with tempfile.TemporaryDirectory() as folder:
        units = pathlib.Path(folder)
        for source in (DEPLOY / "systemd").iterdir():
            text = source.read_text(encoding="utf-8").replace("/usr/local/bin/s3sweep", shutil.which("true"))
            (units / source.name.replace("@.", "@nightly.")).write_text(text, encoding="utf-8")
            (units / source.name).write_text(text, encoding="utf-8")
        unit = (DEPLOY / "systemd" / "s3sweep@.service").read_text(encoding="utf-8")
        if int(re.search(r"^TimeoutStopSec=(\d+)s$", unit, re.M).group(1)) < END_SECS_MIN:
            problem(f"TimeoutStopSec: an end may take {END_SECS_MIN} s")
        names = ["s3sweep@nightly.service", "s3sweep@nightly.timer"]
        paths = [str(units / name) for name in names]
        ended = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *paths], capture_output=True, text=True
        )
        # What it says of other units of this machine is none of ours.
        said = [line for line in (ended.stdout + ended.stderr).splitlines() if "s3sweep" in line]
        for line in said:
            problem(f"systemd-analyze verify: {line}")
        if ended.returncode:
            problem(f"systemd-analyze verify: exit {ended.returncode}: {ended.stderr}")
        elif not said:
            print("ok      systemd-analyze verify finds nothing")
        ended = subprocess.run(
            ["systemd-analyze", "security", "--offline=yes", "--no-pager", paths[0]], capture_output=True, text=True
        )
        overall = re.search(r"Overall exposure level for \S+: ([\d.]+)", ended.stdout)
        if not overall:
            problem(f"systemd-analyze security: {ended.stdout}{ended.stderr}")
        elif float(overall.group(1)) > EXPOSURE_MAX:
            problem(f"exposure {overall.group(1)}, at most {EXPOSURE_MAX}:\n{ended.stdout}")
        else:
            print(f"ok      exposure level {overall.group(1)} of 10")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--systemd", action="store_true", help="also check the units")
    arguments.add_argument("--binary", help="an s3sweep that checks the job of the ConfigMap")
    chosen = arguments.parse_args()
    check_schema()
    text = check_cronjob()
    if chosen.binary:
        check_job(chosen.binary, text)
    check_containerfile()
    if chosen.systemd:
        check_systemd()
    print(f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
