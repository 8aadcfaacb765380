#pragma once

#include "core/access/token_store.hpp"
#include "core/events/events.hpp"
#include "core/instances/instances.hpp"
#include "core/operations/operations.hpp"
#include "core/plugins/runtimes.hpp"
#include "core/store/store.hpp"

#include <minions/value.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>

namespace minions::core {
class Deployments;
class ImageStore;
}

namespace minions::core::api {

/// What the handlers work with; everything outlives the server. Functions: [any thread], quick.
struct Services {
    Store& store;
    Events& events;
    Operations& operations;
    Runtimes& runtimes;
    Instances& instances;
    Deployments& deployments;
    StoredTokens& tokens;

    std::string version;
    /// The array of GET /api/plugins: loaded and refused plugins.
    std::function<Value()> plugins;
    /// The text of /metrics.
    std::function<std::string()> metrics;
    /// Empty when the daemon is ready to serve, else why it is not.
    std::function<std::string()> not_ready;

    // Settings that can change while the daemon runs.
    std::function<std::size_t()> exec_output_bytes;           ///< of stdout, and of stderr, in a reply
    std::function<std::chrono::milliseconds()> exec_timeout;  ///< of an exec that names none

    ImageStore* images = nullptr;  ///< null where none are kept
};

}  // namespace minions::core::api
