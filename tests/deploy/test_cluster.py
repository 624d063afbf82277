"""The Helm chart: what it renders by default is committed (`rendered.yaml`), valid, and says what it must."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from config.settings import Settings
from ddl.readers import readers_database
from tests.deploy.test_clickhouse_config import PASSWORDS, ask
from tests.deploy.test_settings_known import _parse

WORKLOADS = {"Deployment", "StatefulSet", "Job"}
COPIES = {
    "medallion.xml": "clickhouse/server.xml",
    "medallion-users.xml": "clickhouse/users.xml",
    "bootstrap.yaml": "redpanda/bootstrap.yaml",
    "create-topics.sh": "redpanda/create-topics.sh",
    "create-users.sh": "redpanda/create-users.sh",
}
# Who talks to whom: (from, to, port).
TRAFFIC = {
    ("silver", "redpanda", 9092),
    ("clickhouse", "redpanda", 9092),
    ("topics", "redpanda", 9092),
    ("topics", "redpanda", 9644),
    ("redpanda", "redpanda", 33145),
    ("silver", "clickhouse", 8123),
    ("offload", "clickhouse", 8123),
    ("offload", "redpanda", 9092),
    ("schedules", "clickhouse", 8123),
    ("serving", "clickhouse", 8123),
    ("cli", "clickhouse", 8123),
    ("cli", "clickhouse", 9000),
    ("cli", "redpanda", 9092),
    ("days", "clickhouse", 8123),
    ("days", "clickhouse", 9000),
    ("days", "redpanda", 9092),
    ("ddl", "clickhouse", 9000),
    ("clickhouse", "clickhouse", 9009),
    ("clickhouse", "keeper", 9181),
    ("keeper", "keeper", 9234),
}
# They ask exchanges and providers, wherever these are.
ASKS_PROVIDERS = {"schedules", "cli", "days"}
# What the command line's libraries read besides.
PLACES = {"TMPDIR", "XDG_STATE_HOME"}
Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def manifests(root: Path) -> list[Manifest]:
    """Every object that `rendered.yaml` holds."""
    text = (root / "deploy/cluster/rendered.yaml").read_text()
    return [one for one in yaml.load_all(text, Loader=yaml.CSafeLoader) if one]


@pytest.fixture(scope="module")
def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Workload name → its pod template."""
    return {one["metadata"]["name"]: one["spec"]["template"] for one in manifests if one["kind"] in WORKLOADS}


@pytest.fixture(scope="module")
def shared(manifests: list[Manifest]) -> dict[str, str]:
    """The settings that all processes of ours have."""
    (found,) = (one["data"] for one in manifests if one["metadata"]["name"] == "medallion-settings")
    return dict(found)


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] == kind}


def containers(pods: dict[str, Manifest]) -> list[tuple[str, Manifest]]:
    return [(name, container) for name, pod in pods.items() for container in pod["spec"]["containers"]]


def ours(pods: dict[str, Manifest]) -> dict[str, Manifest]:
    return {name: one for name, one in containers(pods) if one["image"].startswith("medallion:")}


def component(pod: Manifest) -> str:
    return str(pod["metadata"]["labels"]["app.kubernetes.io/component"])


def test_an_operator_has_a_way_in(pods: dict[str, Manifest]) -> None:
    """A pod with the logins of compose's service `medallion`, and room for what a re-derivation puts aside."""
    pod = pods["medallion-cli"]["spec"]
    (container,) = pod["containers"]
    told = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert told["MEDALLION_KAFKA_SASL_USERNAME"] == "operator"
    assert told["MEDALLION_CLICKHOUSE_USER"] == "ingest"
    assert told["MEDALLION_ICEBERG_CATALOG_URI"]
    assert {"name": "scratch", "mountPath": told["TMPDIR"]} in container["volumeMounts"]
    (scratch,) = (volume for volume in pod["volumes"] if volume["name"] == "scratch")
    assert "medium" not in scratch["emptyDir"]


def test_what_schedules_have_done_outlives_their_pod(manifests: list[Manifest], pods: dict[str, Manifest]) -> None:
    """And the pod's user may write there. Two pods would run everything twice."""
    deployment = of_kind(manifests, "Deployment")["medallion-schedules"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    pod = pods["medallion-schedules"]["spec"]
    (container,) = pod["containers"]
    told = {entry["name"]: entry.get("value") for entry in container["env"]}
    (place,) = (one["name"] for one in container["volumeMounts"] if one["mountPath"] == told["XDG_STATE_HOME"])
    (volume,) = (one for one in pod["volumes"] if one["name"] == place)
    assert volume["persistentVolumeClaim"]["claimName"] in of_kind(manifests, "PersistentVolumeClaim")
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]


@pytest.mark.parametrize("version", [pytest.param("1.29", marks=pytest.mark.nightly), "1.33"])
def test_every_object_is_valid(manifests: list[Manifest], version: str) -> None:
    for one in manifests:
        kubernetes_validate.validate(one, version, strict=True)


def test_names_are_used_once(manifests: list[Manifest]) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in manifests]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("copy", "source"), COPIES.items())
def test_brokers_and_servers_have_composes_own_files(
    root: Path, manifests: list[Manifest], copy: str, source: str
) -> None:
    (text,) = (one["data"][copy] for one in manifests if one["kind"] == "ConfigMap" and copy in one["data"])
    own = (root / "deploy/compose" / source).read_text()
    assert text.startswith(own.rstrip("\n")), f"{source} changed: run `make cluster`"


def test_images_are_composes(pods: dict[str, Manifest], services: dict[str, Any]) -> None:
    """With their digests. Keeper, which compose has not, is of the server's release."""
    known = {service["image"] for service in services.values()}
    images = {container["image"] for _, container in containers(pods)}
    assert {image for image in images if "keeper" not in image} <= known
    (server,) = (image.partition("@")[0] for image in images if "clickhouse-server" in image)
    assert server.replace("server", "keeper", 1) in {image.partition("@")[0] for image in images}


def test_every_variable_is_one_that_settings_know_and_values_are_valid(
    pods: dict[str, Manifest], shared: dict[str, str]
) -> None:
    for name, container in ours(pods).items():
        own = {entry["name"]: entry.get("value", "s3cret-for-the-test") for entry in container.get("env", [])}
        told = shared | own
        assert set(told) - PLACES <= Settings.variables(), name
        settings = Settings.from_environment(told)
        cluster = "medallion" if name.startswith("medallion-ddl") else ""
        assert settings.clickhouse_cluster == cluster, name


def test_services_ask_all_shards_and_migrations_one_node(pods: dict[str, Manifest], shared: dict[str, str]) -> None:
    assert shared["MEDALLION_CLICKHOUSE_DATABASE"] == readers_database(Settings())
    (job,) = (one for name, one in ours(pods).items() if name.startswith("medallion-ddl"))
    told = {entry["name"]: entry.get("value") for entry in job["env"]}
    assert told["MEDALLION_CLICKHOUSE_DATABASE"] == Settings().clickhouse_database
    assert told["MEDALLION_CLICKHOUSE_HOST"] == "medallion-clickhouse-0-0.medallion-clickhouse"


def test_secrets_are_keys_of_the_env_file(root: Path, pods: dict[str, Manifest]) -> None:
    listed = set(re.findall(r"^([A-Z_]+)=$", (root / ".env.example").read_text(), re.MULTILINE))
    asked = {
        entry["valueFrom"]["secretKeyRef"]["key"]
        for _, container in containers(pods)
        for entry in container.get("env", [])
        if "secretKeyRef" in entry.get("valueFrom", {})
    }
    assert asked
    assert asked <= listed


def test_command_lines_exist(pods: dict[str, Manifest]) -> None:
    from cli.main import app

    command_line = typer.main.get_command(app)
    for name, container in ours(pods).items():
        if "command" in container:
            assert container["command"] in (["python", "-m", "silver_processor"], ["sleep", "infinity"]), name
        else:
            _parse(command_line, container["args"])


def test_what_holds_data_is_kept_by_more_than_one(manifests: list[Manifest]) -> None:
    sets = of_kind(manifests, "StatefulSet")
    assert {name: one["spec"]["replicas"] for name, one in sets.items()} == {
        "medallion-clickhouse-0": 3,
        "medallion-clickhouse-1": 3,
        "medallion-keeper": 3,
        "medallion-redpanda": 3,
    }
    budgets = of_kind(manifests, "PodDisruptionBudget")
    for name in (*sets, "medallion-silver"):
        workload = sets.get(name) or of_kind(manifests, "Deployment")[name]
        assert budgets[name]["spec"]["maxUnavailable"] == 1
        assert budgets[name]["spec"]["selector"] == workload["spec"]["selector"], name


def test_numbers_fit_each_other(root: Path, pods: dict[str, Manifest], shared: dict[str, str]) -> None:
    values = yaml.safe_load((root / "deploy/cluster/values.yaml").read_text())
    nodes = values["clickhouse"]["shards"] * values["clickhouse"]["replicas"]
    assert values["topics"]["rawPartitions"] >= nodes, "a ClickHouse node would have nothing to read"
    assert values["topics"]["bronzePartitions"] >= values["silver"]["workers"]
    assert int(shared["MEDALLION_BRONZE_SHARDS"]) >= values["silver"]["workers"]
    assert 3 <= values["topics"]["replicas"] <= values["redpanda"]["brokers"]


def test_our_containers_are_locked_down(pods: dict[str, Manifest]) -> None:
    for name, pod in pods.items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]
    assert all(one["securityContext"]["readOnlyRootFilesystem"] for one in ours(pods).values())


def test_what_runs_on_is_asked_whether_it_is_ready(manifests: list[Manifest]) -> None:
    for one in manifests:
        if one["kind"] in {"Deployment", "StatefulSet"}:
            for container in one["spec"]["template"]["spec"]["containers"]:
                assert "readinessProbe" in container, one["metadata"]["name"]


def selects(selector: Manifest, pod: Manifest) -> bool:
    labels = pod["metadata"]["labels"]
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


def allowed(manifests: list[Manifest], source: Manifest, target: Manifest, port: int) -> bool:
    """Whether the policies let pods of `source` reach `port` of pods of `target`."""
    policies = [one["spec"] for one in manifests if one["kind"] == "NetworkPolicy"]

    def passes(near: Manifest, far: Manifest, rules: str, peers: str) -> bool:
        return any(
            any("podSelector" in peer and selects(peer["podSelector"], far) for peer in rule.get(peers, []))
            and port in {one["port"] for one in rule.get("ports", [{"port": port}])}
            for policy in policies
            if selects(policy["podSelector"], near)
            for rule in policy.get(rules, [])
        )

    return passes(source, target, "egress", "to") and passes(target, source, "ingress", "from")


def days_pod(pods: dict[str, Manifest]) -> Manifest:
    """A pod of the Job of many days, which no installation has; tests/deploy/real/test_days.py has the chart's own."""
    labels = pods["medallion-cli"]["metadata"]["labels"] | {"app.kubernetes.io/component": "days"}
    return {"metadata": {"labels": labels}}


def test_network_policies_let_through_what_must_and_nothing_else(
    manifests: list[Manifest], pods: dict[str, Manifest]
) -> None:
    by_component = {component(pod): pod for pod in (*pods.values(), days_pod(pods))}
    ports = {port for _, _, port in TRAFFIC}
    producers = {name for name in by_component if name.startswith("producer-")}
    wanted = TRAFFIC | {(name, "redpanda", 9092) for name in producers}
    # A component's own nodes, and ports that come with a peer anyway.
    harmless = {("redpanda", "redpanda"), ("clickhouse", "clickhouse"), ("keeper", "keeper")}
    found = {
        (source, target, port)
        for source, one in by_component.items()
        for target, other in by_component.items()
        for port in ports
        if allowed(manifests, one, other, port)
    }
    assert wanted <= found
    strangers = {(source, target) for source, target, _ in found} - {(a, b) for a, b, _ in wanted} - harmless
    assert strangers == set()
    assert not {one for one in found if one[0].startswith("producer-") and one[2] != 9092}


def test_who_asks_exchanges_reaches_them_wherever_the_bucket_is(
    manifests: list[Manifest], pods: dict[str, Manifest]
) -> None:
    """By a rule of their own, as `catalog.egress` may name nothing but the bucket. Private networks stay closed."""
    by_component = {component(pod): pod for pod in (*pods.values(), days_pod(pods))}
    policies = [one["spec"] for one in manifests if one["kind"] == "NetworkPolicy"]
    reach = {
        name
        for name, pod in by_component.items()
        for policy in policies
        if selects(policy["podSelector"], pod)
        for rule in policy.get("egress", [])
        for peer in rule["to"]
        if "10.0.0.0/8" in peer.get("ipBlock", {}).get("except", []) and {"port": 443} in rule["ports"]
    }
    assert reach == ASKS_PROVIDERS | {name for name in by_component if name.startswith("producer-")}


def test_every_pod_is_under_a_policy(manifests: list[Manifest], pods: dict[str, Manifest]) -> None:
    policies = [one["spec"] for one in manifests if one["kind"] == "NetworkPolicy"]
    for name, pod in pods.items():
        assert any(selects(policy["podSelector"], pod) for policy in policies), name


@pytest.fixture(scope="module")
def node(root: Path, manifests: list[Manifest], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[Any]]]:
    """A cluster node's configuration, as the real engine reads it."""
    (data,) = (one["data"] for one in manifests if one["kind"] == "ConfigMap" and "cluster.xml" in one["data"])
    folder = tmp_path_factory.mktemp("clickhouse") / "server"
    extra = {
        "config.d/medallion_cluster.xml": data["cluster.xml"],
        "users.d/medallion_cluster.xml": data["cluster-users.xml"],
    }
    names = {
        "SHARD": "1",
        "REPLICA": "medallion-clickhouse-1-0",
        "NODE": "medallion-clickhouse-1-0.medallion-clickhouse",
    }
    found = ask(root, folder, PASSWORDS | names, extra)
    assert found is not None, "the engine does not start with these files"
    return found


def test_a_node_knows_its_place_and_its_peers(node: dict[str, list[list[Any]]]) -> None:
    assert dict(node["macros"]) == {"cluster": "medallion", "shard": "1", "replica": "medallion-clickhouse-1-0"}
    peers = [(shard, host) for cluster, shard, host in node["clusters"] if cluster == "medallion"]
    assert peers == [
        (shard + 1, f"medallion-clickhouse-{shard}-{replica}.medallion-clickhouse")
        for shard in range(2)
        for replica in range(3)
    ]


def test_an_insert_is_on_most_replicas_before_it_is_acknowledged(root: Path, node: dict[str, list[list[Any]]]) -> None:
    """And a shard that loses a replica has most of them left; of two it would not."""
    settings = dict(node["settings"])
    assert settings["insert_quorum"] == "auto"
    replicas = yaml.safe_load((root / "deploy/cluster/values.yaml").read_text())["clickhouse"]["replicas"]
    assert replicas // 2 + 1 <= replicas - 1
    # One at a time (0), which sequential consistency needs, refuses every insert that meets another one.
    assert settings.get("insert_quorum_parallel", "1") == "1"
    assert settings.get("select_sequential_consistency", "0") == "0"
    # So whoever asks for what was just acknowledged must ask whom it was sent to.
    assert settings["load_balancing"] == "in_order"
    assert settings["prefer_localhost_replica"] == "0"
    assert settings["fallback_to_stale_replicas_for_distributed_queries"] == "0"
    assert settings["distributed_foreground_insert"] == "1"
    assert settings["distributed_product_mode"] == "global"
    merge_tree = dict(node["merge_tree"])
    assert merge_tree["replicated_deduplication_window"] == str(Settings().deduplication_window)


def test_what_a_node_has_of_its_own_wins(node: dict[str, list[list[Any]]], pods: dict[str, Manifest]) -> None:
    """Files are merged by name, the later one wins: the cluster's must come after compose's."""
    server = dict(node["server"])
    assert server["max_server_memory_usage"] != "1150000000", "the pod's limit says how much"
    assert server["background_pool_size"] == "8"
    (container,) = pods["medallion-clickhouse-0"]["spec"]["containers"]
    mounted = [one["mountPath"] for one in container["volumeMounts"] if one["mountPath"].endswith(".xml")]
    assert "/etc/clickhouse-server/config.xml" in mounted, "in place of the image's, and before config.d"
    names = sorted(path.removeprefix("/etc/clickhouse-server/") for path in mounted if ".d/" in path)
    assert names == ["config.d/medallion_cluster.xml", "users.d/medallion.xml", "users.d/medallion_cluster.xml"]


def test_users_of_a_cluster_have_what_all_shards_take(node: dict[str, list[list[Any]]]) -> None:
    granted = {user: "\n".join(row[0] for row in node[user]) for user in ("ddl", "ingest", "analyst", "serving")}
    assert "CLUSTER" in granted["ddl"]
    assert "REMOTE" in granted["ddl"]
    assert not any(word in granted["ingest"] for word in ("CREATE TABLE", "DROP TABLE", "CLUSTER"))
    databases = ("medallion", readers_database(Settings()))
    readable = (*databases, "pin_*")
    for reader in ("analyst", "serving"):
        assert granted[reader].splitlines() == [f"GRANT SELECT ON {name}.* TO {reader}" for name in readable]
    for user, text in granted.items():
        assert f"{databases[1]}.*" in text, user


def test_users_of_a_cluster_may_do_what_they_may_alone(root: Path) -> None:
    """Grants are replaced as a whole, so each of compose's must be repeated, for the second database, too."""
    alone, cluster = (
        ET.parse(root / "deploy" / path).find("users")
        for path in ("compose/clickhouse/users.xml", "cluster/files/cluster-users.xml")
    )
    assert alone is not None
    assert cluster is not None
    for user in alone.findall("*[grants]"):
        own = {query.text for query in user.iter("query")}
        assert own <= {query.text for query in cluster.iterfind(f"{user.tag}/grants/query")}, user.tag


def test_a_node_has_every_variable_that_its_files_ask_for(
    root: Path, manifests: list[Manifest], pods: dict[str, Manifest]
) -> None:
    (data,) = (one["data"] for one in manifests if one["kind"] == "ConfigMap" and "cluster.xml" in one["data"])
    asked = {name for text in data.values() for name in re.findall(r'from_env="(\w+)"', text)}
    (container,) = pods["medallion-clickhouse-0"]["spec"]["containers"]
    assert asked <= {entry["name"] for entry in container["env"]}


def test_redpandas_start_each_other(pods: dict[str, Manifest]) -> None:
    (container,) = pods["medallion-redpanda"]["spec"]["containers"]
    arguments = dict(argument.lstrip("-").split("=", 1) for argument in container["args"] if "=" in argument)
    seeds = arguments["seeds"].split(",")
    assert seeds == [f"medallion-redpanda-{number}.medallion-redpanda:33145" for number in range(3)]
    assert arguments["unsafe-bypass-fsync"] == "false"
    assert not [one for one, other in pairwise(container["args"]) if (one, other) == ("--mode", "dev-container")]
    memory = int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
    assert int(arguments["memory"].removesuffix("G")) * 1024 < memory
