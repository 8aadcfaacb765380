#include "plugins/docker/runtime.hpp"

#include <minions/plugin.hpp>

MINIONS_PLUGIN(minions::docker::DockerRuntime, "docker", "0.1.0",
               "containers of a Docker Engine, through its API", minions::Kind::container)
