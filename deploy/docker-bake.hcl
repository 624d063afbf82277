# Images for both platforms, from the repository's root:
#
#   REGISTRY=registry.example.com/desk/ docker buildx bake -f deploy/docker-bake.hcl --push
#
# Compose builds for the machine's own platform and does not need this file.

group "default" {
  targets = ["medallion", "grafana"]
}

variable "REGISTRY" {
  # With the slash at its end.
  default = ""
}

target "medallion" {
  context    = "."
  dockerfile = "deploy/Dockerfile"
  tags       = ["${REGISTRY}medallion:0.2.0"]
  platforms  = ["linux/amd64", "linux/arm64"]
}

target "grafana" {
  context   = "deploy/compose/grafana"
  tags      = ["${REGISTRY}medallion-grafana:0.2.0"]
  platforms = ["linux/amd64", "linux/arm64"]
}
