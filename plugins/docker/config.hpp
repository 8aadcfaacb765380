#pragma once

#include <minions/codec.hpp>

#include <cstdint>
#include <string>

namespace minions::docker {

/// The keys below `runtimes.docker.`.
struct Config {
    std::string socket = "/var/run/docker.sock";
    int api_timeout_seconds = 60;
    bool pull = true;
    int log_max_mb = 16;
    int log_files = 2;
    int pids_limit = 4096;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("socket", self.socket,
              Field{.max_size = 107, .doc = "the engine's Unix socket (Docker, or Podman's compatible one)"});
        visit("api_timeout_seconds", self.api_timeout_seconds,
              Field{.min = 1, .max = 3600, .doc = "how long one request to the engine may take"});
        visit("pull", self.pull,
              Field{.doc = "whether an image that the engine does not have is pulled from its registry"});
        visit("log_max_mb", self.log_max_mb,
              Field{.min = 1, .max = 4096, .doc = "MiB of a container's log before it is rotated"});
        visit("log_files", self.log_files,
              Field{.min = 1, .max = 100, .doc = "how many rotated log files are kept"});
        visit("pids_limit", self.pids_limit,
              Field{.min = 0, .max = 4194304, .doc = "processes that a container may have; 0 is no limit"});
    }
};

}  // namespace minions::docker
