"""What holds for every container of the stack, checked on the files: no Docker engine is needed."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import COMPOSE_FILES, load_compose, resolve, variables

# Everything a browser opens; nothing else may be reached from the host.
USER_INTERFACES = {"redpanda-console", "object-store", "prometheus", "alertmanager", "grafana", "serving"}
# What the budget of ADR-009 (docs/invariants.md) counts: broker, warehouse, processors, producers.
PIPELINE = {"redpanda", "clickhouse", "silver-processor", "offload"}
# The images that are built here.
OURS = {"medallion", "medallion-grafana"}
# A mail server may want no login.
OPTIONAL_SECRETS = {"ALERT_SMTP_PASSWORD"}
SECRET = re.compile(r"PASSWORD|SECRET|ACCESS_KEY|ENCRYPTION_KEY|TOKEN")
UNITS = {"M": 1024**2, "G": 1024**3}


def cores(service: dict[str, Any]) -> float:
    return float(service["deploy"]["resources"]["limits"]["cpus"])


def memory(service: dict[str, Any]) -> int:
    text = service["deploy"]["resources"]["limits"]["memory"]
    return int(text[:-1]) * UNITS[text[-1]]


def is_job(service: dict[str, Any]) -> bool:
    return bool(service["restart"] == "no")


def test_files_follow_the_compose_specification(root: Path, compose_file: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="the schema is checked with the jsonschema package")
    schema = json.loads((root / "tests/deploy/compose-spec.json").read_text())
    # JSON has no sexagesimal numbers or dates: what survives the round trip is what Compose sees.
    jsonschema.validate(json.loads(json.dumps(compose_file)), schema)


def test_every_image_is_pinned(root: Path, compose_file: dict[str, Any]) -> None:
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    seen: dict[str, str] = {}
    for name, service in compose_file["services"].items():
        if "image" not in service:
            continue
        image, _, digest = service["image"].partition("@")
        repository, colon, tag = image.rpartition(":")
        assert colon, f"{name}: {image} has no tag"
        assert re.search(r"\d+\.\d+|RELEASE\.\d{4}-\d\d-\d\dT", tag), f"{name}: {tag} is no exact version"
        assert not digest or re.fullmatch(r"sha256:[0-9a-f]{64}", digest), name
        assert seen.setdefault(repository, tag) == tag, f"{name}: {repository} in two versions"
        if repository in OURS:
            assert tag == version, "an image of ours is tagged with the project's version"


def test_each_image_of_ours_is_built_by_one_service(root: Path) -> None:
    """Compose builds all at once: a second export of a tag fails. Nor may it be pulled from a public registry."""
    found = [one for file in COMPOSE_FILES for one in load_compose(file)["services"].items()]
    built = [service["image"] for _, service in found if "build" in service]
    assert sorted(image.partition(":")[0] for image in built) == sorted(OURS)
    for name, service in found:
        image = service.get("image", "")
        assert (image in built) == (image.partition(":")[0] in OURS), name
        if image in built:
            assert service["pull_policy"] == "never", name


@pytest.mark.parametrize("profile", ["core", "observability", "simulator"])
def test_every_profile_builds_what_it_runs(services: dict[str, Any], profile: str) -> None:
    running = [service for service in services.values() if profile in service["profiles"]]
    built = {service["image"] for service in running if "build" in service}
    assert {service["image"] for service in running if service["image"].partition(":")[0] in OURS} == built


def test_the_stack_starts_without_the_internet(root: Path, services: dict[str, Any]) -> None:
    """Once the images are there: Grafana has its plugin in the image, outside the volume, and fetches nothing."""
    told = services["grafana"]["environment"]
    assert not [name for name in told if re.search("INSTALL", name) and name != "GF_PLUGINS_PREINSTALL_DISABLED"]
    assert told["GF_PLUGINS_PREINSTALL_DISABLED"] == "true"
    for name in ("REPORTING_ENABLED", "CHECK_FOR_UPDATES", "CHECK_FOR_PLUGIN_UPDATES"):
        assert told[f"GF_ANALYTICS_{name}"] == "false"
    image = (root / services["grafana"]["build"] / "Dockerfile").read_text()
    assert re.search(r"^FROM grafana/grafana:\d+\.\d+\.\d+@sha256:[0-9a-f]{64}$", image, re.MULTILINE)
    (plugins,) = re.findall(r"^ENV GF_PATHS_PLUGINS=(\S+)$", image, re.MULTILINE)
    assert f"grafana cli --pluginsDir {plugins} plugins install" in image
    mounted = [volume.split(":")[1] for volume in services["grafana"]["volumes"]]
    assert not [path for path in mounted if plugins.startswith(path)], "a volume would hide the plugin"
    assert not image.rstrip().endswith("USER root")


def test_what_does_not_fit_into_memory_has_a_volume(root: Path, services: dict[str, Any]) -> None:
    """A re-derivation spills as much as the day holds; /tmp is 64 MiB of memory."""
    service = services["medallion"]
    place = service["environment"]["TMPDIR"]
    assert f"scratch:{place}" in service["volumes"]
    assert not [mount for mount in service["tmpfs"] if mount.startswith(f"{place}:")]
    # Docker gives a new volume the owner of the image's folder.
    assert re.search(rf"install --directory --owner=10001 .*{place}$", (root / "deploy/Dockerfile").read_text(), re.M)


def test_a_symbol_needs_no_new_image(ours: dict[str, Any]) -> None:
    for name, service in ours.items():
        places = {volume.split(":")[1] for volume in service["volumes"] if volume.startswith("./config:")}
        told = service.get("environment", {})
        files = {told[key] for key in ("MEDALLION_SYMBOLS_FILE", "MEDALLION_SCHEDULES_FILE") if key in told}
        assert {str(Path(file).parent) for file in files} <= places, name
        assert not [one for one in places if "." in one], f"{name} mounts a file: an edit would leave the old one there"
    assert ours["silver-processor"]["environment"]["MEDALLION_SYMBOLS_FILE"] == "/etc/medallion/symbols.yaml"


def test_the_command_line_knows_the_schedules_that_run(services: dict[str, Any]) -> None:
    """One file, one state folder and one name of the stack in it; also where the broker is another one."""
    both = services["schedules"], services["medallion"]
    for key in ("MEDALLION_SCHEDULES_FILE", "XDG_STATE_HOME", "MEDALLION_CLICKHOUSE_HOST", "MEDALLION_CLICKHOUSE_PORT"):
        assert both[0]["environment"][key] == both[1]["environment"][key]
    mounted = [
        {volume for volume in one["volumes"] if "/etc/schedules" in volume or "/scratch" in volume} for one in both
    ]
    assert mounted[0] == mounted[1] == {"./config:/etc/schedules:ro", "scratch:/scratch"}
    assert both[0]["environment"]["XDG_STATE_HOME"].startswith("/scratch/")
    changed = resolve(load_compose("docker-compose.kafka.yml")["services"], {"KAFKA_ADMIN_PASSWORD": "s3cret"})
    (broker,) = {
        changed[name]["environment"]["MEDALLION_KAFKA_BOOTSTRAP_SERVERS"] for name in ("schedules", "medallion")
    }
    assert broker != services["medallion"]["environment"]["MEDALLION_KAFKA_BOOTSTRAP_SERVERS"]


def test_the_database_is_ready_when_it_answers_where_others_ask(services: dict[str, Any]) -> None:
    """While Postgres' image initialises, its server answers on the socket, which is pg_isready's default."""
    assert "--host=127.0.0.1" in services["catalog-database"]["healthcheck"]["test"]


def test_the_catalog_sends_clients_back_to_where_they_came(services: dict[str, Any]) -> None:
    """Lakekeeper's `overrides.uri` is LAKEKEEPER__BASE_URI where it is set, for clients on the host too."""
    told = services["catalog"]["environment"]
    assert "LAKEKEEPER__BASE_URI" not in told
    assert told["LAKEKEEPER__USE_X_FORWARDED_HEADERS"] == "false"


@pytest.mark.parametrize(("answer", "healthy"), [("200 OK", True), ("503 Service Unavailable", False), ("", False)])
def test_the_health_check_is_about_the_status(root: Path, answer: str, healthy: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = ["bash", root / "deploy/compose/answers.sh", str(server.getsockname()[1]), "/healthz"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as check:
            connection, _ = server.accept()
            with connection:
                with connection.makefile("rb") as request:
                    said = list(iter(request.readline, b"\r\n"))
                assert said[:2] == [b"GET /healthz HTTP/1.1\r\n", b"Host: 127.0.0.1\r\n"]
                connection.sendall(f"HTTP/1.1 {answer}\r\n\r\n".encode() if answer else b"")
        assert (check.returncode == 0) == healthy
    refused = subprocess.run(command, capture_output=True, check=False)
    assert refused.returncode != 0, "nobody listens"


def test_health_checks_of_small_services_are_cheap(ours: dict[str, Any]) -> None:
    """An interpreter that starts in a twentieth of a core needs most of the time that it has to answer."""
    for name, service in ours.items():
        if "healthcheck" in service:
            assert service["healthcheck"]["test"][:3] == ["CMD", "bash", "/answers.sh"], name
            assert any(volume.endswith(":/answers.sh:ro") for volume in service["volumes"]), name
            # A twentieth of a core starts one of our processes in 25 s, and answers in up to 3.
            is_small = float(service["deploy"]["resources"]["limits"]["cpus"]) <= 0.1
            assert seconds(service["healthcheck"]["start_period"]) >= (100 if is_small else 60), name
            assert seconds(service["healthcheck"]["timeout"]) >= (10 if is_small else 5), name


def seconds(said: str) -> float:
    assert said.endswith("s")
    return float(said.removesuffix("s"))


@pytest.mark.parametrize(
    "path", ["Makefile", "README.md", "deploy/compose/README.md", "docs/runbooks/operate.md", "docker-compose.yml"]
)
def test_what_starts_a_profile_also_stops_it(root: Path, path: str) -> None:
    """`--profile` counts for one command: the `down` after it would leave the profile's services running."""
    for line in (root / path).read_text().splitlines():
        if "docker compose" in line and "--profile" in line:
            assert re.search(r"--profile '\*' down", line), line
        if re.search(r"docker compose .*\bdown\b", line):
            assert "--profile '*'" in line, line


def test_every_long_running_service_has_a_health_check_or_a_reason(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if is_job(service):
            assert "healthcheck" not in service, f"{name} ends by itself"
        elif "healthcheck" in service:
            assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, name
            assert {"interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"]), name
        else:
            assert len(service["x-no-healthcheck"]) > 30, f"{name}: say why it has no health check"


def test_health_checks_ask_the_port_that_the_service_listens_on(ours: dict[str, Any]) -> None:
    for name, service in ours.items():
        port = service.get("environment", {}).get("MEDALLION_METRICS_PORT")
        if port:
            assert service["healthcheck"]["test"][3] == port, name


def test_jobs_are_awaited(services: dict[str, Any]) -> None:
    """`up --wait` takes a container that ended for a failure unless another one waits for its success."""
    awaited = {
        needed
        for service in services.values()
        for needed, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }
    jobs = {name for name, service in services.items() if is_job(service) and service["profiles"] != ["tools"]}
    assert awaited == jobs


def test_the_simulator_brings_everything_that_the_smoke_test_asks(services: dict[str, Any]) -> None:
    """`docker compose --profile simulator up -d --wait`, then `make smoke`."""
    asked = {
        host
        for value in map(str, services["medallion"]["environment"].values())
        for host in re.findall(r"^(?:https?://)?([a-z-]+)(?::\d+)?(?:/\w+)?$", value)
        if host in services and host != "medallion"
    }
    assert asked >= {"redpanda", "clickhouse", "catalog", "object-store", "prometheus", "grafana"}
    assert not {name for name in asked if "simulator" not in services[name]["profiles"]}
    assert "depends_on" not in services["medallion"], "it checks what runs, and starts nothing"


def test_dependencies_have_conditions_and_run_in_the_same_profiles(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert set(service["profiles"]) <= set(services[needed]["profiles"]), f"{name} needs {needed}"
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed], f"{name} waits for the health of {needed}"


def test_restart_policies_and_bounded_logs(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["restart"] in {"no", "always", "unless-stopped"}, name
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name


def test_ports_are_bound_to_the_loopback_address(compose_file: dict[str, Any]) -> None:
    for name, service in compose_file["services"].items():
        for port in service.get("ports", []):
            assert re.match(r"127\.0\.0\.1:", str(port)), f"{name} publishes {port}"


def test_only_user_interfaces_are_published(services: dict[str, Any]) -> None:
    assert {name for name, service in services.items() if service.get("ports")} == USER_INTERFACES


def test_only_those_that_need_the_catalog_reach_it(services: dict[str, Any]) -> None:
    """It asks nobody for a login: whoever reaches it may drop every cold table."""
    reaching = {name for name, service in services.items() if "catalog" in service.get("networks", ())}
    clients = {name for name, one in services.items() if "MEDALLION_ICEBERG_CATALOG_URI" in one.get("environment", {})}
    parts = {"catalog", "catalog-migrate", "catalog-database"}
    # Prometheus asks for its metrics.
    assert reaching == clients | parts | {"prometheus"}
    # It checks and tidies what is in the object store.
    assert {name: services[name]["networks"] for name in parts} == {
        "catalog": ["catalog", "store"],
        "catalog-migrate": ["catalog"],
        "catalog-database": ["catalog"],
    }


def test_only_those_that_have_its_keys_reach_the_object_store(services: dict[str, Any]) -> None:
    """Prometheus besides, for the metrics. Not every port of a store asks for a key."""
    reaching = {name for name, service in services.items() if "store" in service.get("networks", ())}
    keys = {name for name, one in services.items() if any("SECRET" in key for key in one.get("environment", {}))}
    assert reaching == keys | {"object-store", "catalog", "prometheus"}
    assert services["object-store"]["networks"] == ["store"]


def test_seaweedfs_serves_s3_and_nothing_else() -> None:
    """Its filer would show every object to whoever reaches the port; so would master and volume server."""
    command = load_compose("docker-compose.seaweedfs.yml")["services"]["object-store"]["command"]
    flags = dict(flag.removeprefix("-").split("=") for flag in command if "=" in flag)
    assert flags["ip"] == flags["ip.bind"] == "127.0.0.1"
    assert flags["s3.ip.bind"] == "0.0.0.0"
    assert flags["s3.port.iceberg"] == flags["s3.port.lance"] == "0"
    assert not {"-filer", "-webdav", "-sftp", "-iam"} & set(command)


def test_grafana_asks_for_a_login_and_reads_as_the_analyst(root: Path, unresolved: dict[str, Any]) -> None:
    told = unresolved["services"]["grafana"]["environment"]
    assert told["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_ADMIN_PASSWORD:?")
    assert told["GF_USERS_ALLOW_SIGN_UP"] == "false"
    # Off unless somebody says so, as proxy logins are.
    assert not [name for name in told if name.startswith("GF_AUTH_")]
    document = yaml.safe_load((root / "deploy/compose/grafana/datasources/medallion.yml").read_text())
    sources = {source["name"]: source for source in document["datasources"]}
    assert {name for name, source in sources.items() if not source["editable"]} == {"Prometheus", "ClickHouse"}
    assert sources["ClickHouse"]["jsonData"]["username"] == "analyst"
    assert {name for name in told if "PASSWORD" in name} == {
        "GF_SECURITY_ADMIN_PASSWORD",
        "CLICKHOUSE_ANALYST_PASSWORD",
    }


def test_secrets_have_no_default(compose_file: dict[str, Any]) -> None:
    for variable, operators in variables(compose_file).items():
        if SECRET.search(variable) and variable not in OPTIONAL_SECRETS:
            assert operators == {":?"}, f"{variable} must be ${{{variable}:?…}} wherever it is used"
    for name, service in compose_file["services"].items():
        for key, value in (service.get("environment") or {}).items():
            if SECRET.search(key):
                assert re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", value), f"{name}: {key} is written out"


def test_env_example_lists_every_variable_and_no_secret(root: Path) -> None:
    lines = (root / ".env.example").read_text().splitlines()
    listed = {m[1]: m[2] for line in lines if (m := re.fullmatch(r"#?([A-Z_]+)=(.*)", line))}
    files = [load_compose(name) for name in COMPOSE_FILES]
    used = {name for file in files for name in variables(file)}
    assert set(listed) == used | {"COMPOSE_PROFILES"}
    assert {name for name, value in listed.items() if not value} == {name for name in used if SECRET.search(name)}
    profiles = {profile for service in files[0]["services"].values() for profile in service["profiles"]}
    assert set(listed["COMPOSE_PROFILES"].split(",")) <= profiles == {"core", "observability", "simulator", "tools"}


def test_env_example_repeats_the_defaults(root: Path, unresolved: dict[str, Any]) -> None:
    """A commented line shows what holds without it."""
    written = json.dumps([unresolved, *map(load_compose, COMPOSE_FILES)])
    for name, value in re.findall(r"^#([A-Z_]+)=(.+)$", (root / ".env.example").read_text(), re.MULTILINE):
        assert f"${{{name}:-{value}}}" in written or f"${{{name}-{value}}}" in written, name


def test_every_service_is_limited(services: dict[str, Any]) -> None:
    for service in services.values():
        assert cores(service) > 0
        assert memory(service) > 0


def test_the_pipeline_fits_the_budget_of_the_adr(root: Path, services: dict[str, Any]) -> None:
    counted = [service for name, service in services.items() if name in PIPELINE or name.startswith("producer-")]
    total_cores, total_memory = sum(map(cores, counted)), sum(map(memory, counted))
    assert total_cores <= 2.5 + 1e-9
    assert total_memory <= 4.5e9
    claimed = f"{total_cores:.2f} cores, {total_memory // 1024**2} MiB = {total_memory / 1e9:.2f} GB"
    assert claimed in (root / "docker-compose.yml").read_text(), f"the comment should say: {claimed}"


def test_data_is_in_named_volumes_and_configuration_is_read_only(
    root: Path, unresolved: dict[str, Any], services: dict[str, Any]
) -> None:
    used = set()
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source, target, *mode = volume.split(":")
            if source.startswith("./"):
                assert mode == ["ro"], f"{name}: {volume}"
                assert (root / source).exists(), f"{name}: {source} is missing"
            else:
                used.add(source)
            assert target.startswith("/")
    assert used == set(unresolved["volumes"])


def test_silver_scales(services: dict[str, Any]) -> None:
    assert not {"container_name", "ports", "network_mode", "hostname"} & set(services["silver-processor"])
    assert not [name for name, service in services.items() if "container_name" in service]


def test_our_containers_are_locked_down(ours: dict[str, Any]) -> None:
    assert "silver-processor" in ours
    for name, service in ours.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["init"] is True, name
        assert not {"privileged", "user", "cap_add"} & set(service), name


def test_the_broker_is_durable(services: dict[str, Any]) -> None:
    """Not the dev-container mode: fsync on, no automatic topics, memory below the container's."""
    command = services["redpanda"]["command"]
    assert "--unsafe-bypass-fsync=false" in command
    assert not [part for part in command if "dev-container" in part or part == "--mode"]
    given = next(part.partition("=")[2] for part in command if part.startswith("--memory="))
    assert int(given[:-1]) * UNITS[given[-1]] < memory(services["redpanda"])
    bootstrap = Path("deploy/compose/redpanda/bootstrap.yaml")
    assert f"./{bootstrap}:/etc/redpanda/.bootstrap.yaml:ro" in services["redpanda"]["volumes"]


def test_the_outside_listener_is_published_where_it_says_it_is(services: dict[str, Any]) -> None:
    """A client that reaches the listener is sent to the address it advertises."""
    advertised = next(part for part in services["redpanda"]["command"] if part.startswith("--advertise-kafka-addr="))
    listeners = dict(part.split("://") for part in advertised.partition("=")[2].split(","))
    assert listeners["inside"] == services["silver-processor"]["environment"]["MEDALLION_KAFKA_BOOTSTRAP_SERVERS"]
    host, port = listeners["outside"].split(":")
    published = load_compose("docker-compose.host-access.yml")["services"]["redpanda"]["ports"]
    assert published == [f"{host}:{port}:{port}"]


def test_overrides_name_services_that_exist(services: dict[str, Any], compose_file: dict[str, Any]) -> None:
    """Or extend one."""
    new = {name for name, service in compose_file["services"].items() if "extends" in service}
    assert set(compose_file["services"]) - new <= set(services)
    assert {compose_file["services"][name]["extends"]["service"] for name in new} <= set(services)


def test_a_broker_outside_takes_the_place_of_the_stacks(services: dict[str, Any]) -> None:
    """Everybody who logs in to the broker goes to the other one, and nothing waits for ours."""
    environment = {"KAFKA_BOOTSTRAP_SERVERS": "kafka.desk:9093", "KAFKA_ADMIN_PASSWORD": "s3cret"}
    changed = resolve(load_compose("docker-compose.kafka.yml")["services"], environment)
    clients = {name for name, one in services.items() if "MEDALLION_KAFKA_SASL_USERNAME" in one.get("environment", {})}
    assert len(clients) > 8
    for name in clients | {"topics"}:
        told = changed[name]["environment"]
        assert told["MEDALLION_KAFKA_BOOTSTRAP_SERVERS"] == "kafka.desk:9093", name
        assert told["MEDALLION_KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL", name
    assert changed["ddl"]["environment"]["MEDALLION_CLICKHOUSE_KAFKA_BROKERS"] == "kafka.desk:9093"
    assert changed["clickhouse"]["environment"]["KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL"
    for name, service in services.items():
        waits = changed.get(name, {}).get("depends_on", service.get("depends_on", {}))
        assert "redpanda" not in waits, name
    assert set(changed["redpanda"]["profiles"]).isdisjoint({"core", "simulator", "observability", "tools"})
