"""Combinations of the chart's values that matter, by what they are."""

GAMES, CHAT = "games", "chat"

CASES = {
    "the defaults": {},
    "some namespaces only": {"watchNamespaces": [GAMES, CHAT]},
    "a URL without a password": {"redis.url": "redis+cluster://node-0:6379,node-1:6379"},
    "a URL in a Secret, TLS with an authority of one's own": {
        "redis.existingSecret.name": "store",
        "redis.existingSecret.key": "address",
        "redis.caSecret.name": "store-ca",
        "redis.caSecret.key": "root.pem",
    },
    "a password in a Secret that is mounted": {
        "redis.url": "redis://operator@valkey:6379?password_file=/etc/stateful-route/login/password",
        "redis.passwordSecret.name": "store-login",
        "redis.passwordSecret.key": "secret",
    },
    "Secrets that StatefulRoutes name": {"redis.secretNames": {GAMES: ["rooms", "lobby"], CHAT: ["store"]}},
    "the same, in a namespace that is served": {
        "watchNamespaces": [GAMES],
        "redis.secretNames": {GAMES: ["rooms"]},
    },
    "a Valkey to try it": {"valkey.enabled": True},
    "a Valkey without a volume": {"valkey.enabled": True, "valkey.storage.enabled": False},
    "a Valkey with a storage class": {"valkey.enabled": True, "valkey.storage.storageClassName": "fast"},
    "three operators, two of which wait": {"replicas": 3, "podDisruptionBudget.enabled": True},
    "no election": {"leaderElection.enabled": False},
    "the CRD goes with the release": {"crds.keep": False},
    "the CRD is the administrator's": {"crds.enabled": False},
    "the account and its roles are the administrator's": {
        "rbac.create": False,
        "serviceAccount.create": False,
        "serviceAccount.name": "given",
    },
    "some namespaces, roles made for a given account": {
        "watchNamespaces": [GAMES],
        "serviceAccount.create": False,
        "serviceAccount.name": "given",
    },
    "no hook": {"preDeleteHook.enabled": False},
    "no metrics": {"metrics.enabled": False, "networkPolicy.enabled": True},
    "everything for Prometheus and Grafana": {
        "metrics.serviceMonitor.enabled": True,
        "metrics.serviceMonitor.labels": {"release": "prometheus"},
        "metrics.prometheusRule.enabled": True,
        "metrics.dashboard.enabled": True,
    },
    "a network policy": {
        "networkPolicy.enabled": True,
        "networkPolicy.metricsFrom": [{"namespaceSelector": {"matchLabels": {"team": "monitoring"}}}],
        "networkPolicy.egress": [{"ports": [{"port": 6443}, {"port": 53, "protocol": "UDP"}]}],
    },
    "other names": {"fullnameOverride": "router", "nameOverride": "rooms", "serviceAccount.name": "router-account"},
    "an image by its digest, from a registry with a password": {
        "image.repository": "registry.example/stateful-route",
        "image.digest": f"sha256:{'0' * 64}",
        "imagePullSecrets": [{"name": "registry"}],
    },
    "everything that a pod may want": {
        "operator.extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "operator.extraVolumes": [{"name": "more", "emptyDir": {}}],
        "operator.extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
        "podAnnotations": {"example.com/a": "b"},
        "podLabels": {"team": "rooms"},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {},
            }
        ],
    },
}
