#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace minions::core {

/// What the operator decides about deployments: the settings `deployments.*`.
struct DeploymentOptions {
    std::filesystem::path state_dir;  ///< the daemon's; build logs are kept in its deployments/
    /// Where clones live while they are needed, each in a private directory of its own. Every directory above
    /// must be searchable by `user`, which is why the state directory does not serve.
    std::filesystem::path work_dir = "/var/tmp";
    std::string runtime;  ///< empty: the first healthy container runtime that has the facet build

    std::vector<std::string> allowed_schemes = {"https", "ssh"};  ///< also known: http, file
    bool allow_private_addresses = false;
    std::filesystem::path key_dir;      ///< empty: no deployment can use an ssh key
    std::filesystem::path known_hosts;  ///< host keys of ssh servers; empty: nothing can be cloned over ssh
    std::string user = "nobody";        ///< whom git runs as where the daemon is root

    std::string python_image = "python:{version}-slim";
    std::string pip_index_url;  ///< empty: pip's own default

    std::size_t max_parallel = 2;  ///< clones and builds under way; further deployments wait
    std::size_t max_pending = 64;  ///< deployments that wait or are under way; further ones are refused
    std::chrono::milliseconds queue_timeout = std::chrono::hours(1);  ///< longest wait for a place among them
    std::chrono::milliseconds clone_timeout = std::chrono::minutes(5);
    std::chrono::milliseconds build_timeout = std::chrono::minutes(30);
    std::chrono::milliseconds start_window = std::chrono::seconds(2);
    std::chrono::milliseconds stop_grace = std::chrono::seconds(10);
    std::chrono::milliseconds probe_timeout = std::chrono::seconds(2);
    std::uint64_t max_clone_bytes = std::uint64_t{1} << 30U;
    std::uint64_t max_log_bytes = std::uint64_t{4} << 20U;  ///< of each deployment's build log
    std::size_t logs_kept = 500;
    std::int64_t build_memory_mb = 2048;                    ///< of each build step; 0: no limit
    std::int64_t max_image_bytes = std::int64_t{8} << 30U;  ///< of a built image with its base; 0: no limit

    /// Called with runtime, outcome (succeeded, failed, cancelled) and duration of each build. [any thread]
    std::function<void(std::string_view, std::string_view, std::chrono::nanoseconds)> built;

    std::string git_program = "git";
    std::string ssh_program = "ssh";
};

}  // namespace minions::core
