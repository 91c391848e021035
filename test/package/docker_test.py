"""The container files against what walign takes, and what the scripts that they call do."""
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
WALIGN = os.environ["WALIGN"]
PORT = 8642
PAGES = {"/healthz", "/readyz", "/metrics", "/v1/status", "/"}


def load(name):
    with open(DOCKER / name, encoding="utf-8") as file:
        return list(yaml.safe_load_all(file))


def check(text, variables=()):
    """What walign config check says of a configuration."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "walign.yaml")
        path.write_text(text, encoding="utf-8")
        done = subprocess.run([WALIGN, "-c", str(path), "config", "check", "--json"], capture_output=True, text=True,
                              check=False, env={**os.environ, **{name: "x" for name in variables}})
        return done.returncode, json.loads(done.stdout)


def commands():
    out = subprocess.run([WALIGN, "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"(?m)^  ([a-z-]+) ", out.split("Subcommands:")[1]))


class Dockerfile(unittest.TestCase):
    def setUp(self):
        text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
        self.lines = [line.split(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]

    def values(self, word):
        return [rest for first, rest in self.lines if first == word]

    def test_each_step_is_a_script_that_is_here_and_may_be_run(self):
        self.assertEqual(self.values("RUN"), ["docker/build.sh /out", "/tmp/walign/install.sh"])
        for name in ("build.sh", "install.sh", "entrypoint.sh"):
            self.assertTrue(os.access(DOCKER / name, os.X_OK), name)
        for rest in self.values("COPY"):
            source = rest.split()[-2]
            if not rest.startswith("--from") and source != ".":
                self.assertTrue((ROOT / source).exists(), rest)

    def test_both_stages_are_the_debian_that_the_package_is_for(self):
        self.assertEqual([re.match(r"debian:12", rest) is not None for rest in self.values("FROM")], [True, True])

    def test_it_exposes_the_port_and_runs_a_command_that_there_is(self):
        self.assertEqual(self.values("EXPOSE"), [str(PORT)])
        self.assertIn(json.loads(self.values("CMD")[0])[0], commands())
        self.assertEqual(self.values("USER"), ["walign"])
        self.assertEqual(self.values("VOLUME"), ["/var/lib/walign"])


class Entrypoint(unittest.TestCase):
    def run_it(self, *arguments, **environment):
        with tempfile.TemporaryDirectory() as folder:
            fake = pathlib.Path(folder, "walign")
            fake.write_text('#!/bin/sh\necho "$WALIGN_CONFIG" "$@"\necho "$SAYS"\n', encoding="utf-8")
            fake.chmod(0o755)
            return subprocess.run([DOCKER / "entrypoint.sh", *arguments], capture_output=True, text=True, check=False,
                                  env={"PATH": os.environ["PATH"], "WALIGN": str(fake), **environment})

    def test_walign_is_run_with_the_configuration_of_the_image_or_another(self):
        self.assertEqual(self.run_it("run").stdout.split("\n")[0], "/etc/walign/walign.yaml run")
        self.assertEqual(self.run_it("status", WALIGN_CONFIG="/other.yaml").stdout.split("\n")[0], "/other.yaml status")

    def test_the_health_check_is_whether_a_sidecar_answers(self):
        self.assertEqual(self.run_it("healthcheck", SAYS='  "running": true').returncode, 0)
        self.assertEqual(self.run_it("healthcheck", SAYS='  "running": false').returncode, 1)

    def test_the_health_check_reads_what_status_really_says(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "walign.yaml")
            path.write_text(f"migration: m\nsource: host=nowhere\ntarget: host=nowhere\nstate: {folder}/state\n"
                            "tables: [public.t]\n", encoding="utf-8")
            done = subprocess.run([WALIGN, "-c", str(path), "status", "--json"], capture_output=True, text=True,
                                  check=False)
            self.assertIn('"running": false', done.stdout)
            healthy = subprocess.run([DOCKER / "entrypoint.sh", "healthcheck"], capture_output=True, check=False,
                                     env={**os.environ, "WALIGN": WALIGN, "WALIGN_CONFIG": str(path)})
            self.assertEqual(healthy.returncode, 1)


class Compose(unittest.TestCase):
    def setUp(self):
        self.compose, = load("compose.yaml")
        self.services = self.compose["services"]

    def test_everything_that_is_mounted_is_here_or_a_volume_of_its_own(self):
        for name, service in self.services.items():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                with self.subTest(service=name, volume=volume):
                    if source.startswith("."):
                        self.assertTrue((DOCKER / source).exists())
                    else:
                        self.assertIn(source, self.compose["volumes"])

    def test_the_configuration_is_one_and_leads_to_the_services(self):
        text = (DOCKER / "example/walign.yaml").read_text(encoding="utf-8")
        code, said = check(text)
        self.assertEqual((code, said["problems"], said["warnings"]), (0, [], []))
        config = yaml.safe_load(text)
        for side in ("source", "target"):
            self.assertEqual(re.match(r"postgresql://postgres@(\w+)/app$", config[side]).group(1), side)
            self.assertEqual(self.services[side]["environment"]["POSTGRES_DB"], "app")
        self.assertTrue(config["state"].startswith("/var/lib/walign/"))
        self.assertEqual(config["http"], f"0.0.0.0:{PORT}")

    def test_walign_runs_a_command_that_there_is_on_the_port_that_is_published(self):
        walign = self.services["walign"]
        self.assertIn(walign["command"][0], commands())
        self.assertEqual(walign["ports"], [f"127.0.0.1:{PORT}:{PORT}"])
        self.assertEqual((DOCKER / walign["build"]["context"]).resolve(), ROOT)
        self.assertTrue((ROOT / walign["build"]["dockerfile"]).exists())
        self.assertIn("wal_level=logical", self.services["source"]["command"])

    def test_grafana_finds_its_dashboards_and_prometheus(self):
        provider, = load("grafana/dashboards/walign.yaml")
        mounted = [v.split(":")[1] for v in self.services["grafana"]["volumes"]]
        self.assertIn(provider["providers"][0]["options"]["path"], mounted)
        source, = load("grafana/datasources/prometheus.yaml")
        self.assertEqual(source["datasources"][0]["url"], "http://prometheus:9090")
        self.assertIn("prometheus", self.services)

    def test_prometheus_asks_walign_and_has_rules_that_are_here(self):
        prometheus, = load("monitoring/prometheus.yml")
        job, = prometheus["scrape_configs"]
        self.assertEqual((job["job_name"], job["static_configs"]), ("walign", [{"targets": [f"walign:{PORT}"]}]))
        for name in prometheus["rule_files"]:
            rules, = load(f"monitoring/{name}")
            self.assertIn('job="walign"', rules["groups"][0]["rules"][0]["expr"])


class Kubernetes(unittest.TestCase):
    def setUp(self):
        self.kinds = {part["kind"]: part for part in load("kubernetes.yaml")}
        self.pod = self.kinds["StatefulSet"]["spec"]["template"]["spec"]
        self.walign, = self.pod["containers"]
        self.text = self.kinds["ConfigMap"]["data"]["walign.yaml"]

    def test_the_configuration_is_one_with_the_variables_of_the_secret(self):
        names = set(self.kinds["Secret"]["stringData"])
        self.assertEqual(set(re.findall(r"\$\{(\w+)\}", self.text)), names)
        code, said = check(self.text, names)
        self.assertEqual((code, said["problems"], said["warnings"]), (0, [], []))
        self.assertNotEqual(check(self.text)[0], 0)

    def test_the_probes_ask_pages_that_there_are_on_the_port_that_is_served(self):
        config = yaml.safe_load(self.text)
        ports = {port["name"]: port["containerPort"] for port in self.walign["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            get = self.walign[probe]["httpGet"]
            self.assertIn(get["path"], PAGES)
            self.assertEqual(f"0.0.0.0:{ports[get['port']]}", config["http"])
        self.assertEqual(self.walign["livenessProbe"]["httpGet"]["path"], "/healthz")
        self.assertEqual(self.walign["readinessProbe"]["httpGet"]["path"], "/readyz")

    def test_the_state_and_the_configuration_are_where_walign_looks(self):
        mounts = {mount["name"]: mount for mount in self.walign["volumeMounts"]}
        self.assertEqual(mounts["config"]["mountPath"], "/etc/walign")
        self.assertTrue(yaml.safe_load(self.text)["state"].startswith(mounts["state"]["mountPath"] + "/"))
        claims = {claim["metadata"]["name"] for claim in self.kinds["StatefulSet"]["spec"]["volumeClaimTemplates"]}
        volumes = {volume["name"] for volume in self.pod["volumes"]}
        self.assertEqual(set(mounts), claims | volumes)
        self.assertIn("state", claims)

    def test_there_is_one_at_a_time_and_it_has_time_to_stop(self):
        self.assertEqual(self.kinds["StatefulSet"]["spec"]["replicas"], 1)
        self.assertGreaterEqual(self.pod["terminationGracePeriodSeconds"], 30)
        self.assertIn(self.walign["args"][0], commands())


if __name__ == "__main__":
    unittest.main()
