#pragma once

#include "core/deployments/options.hpp"
#include "core/deployments/request.hpp"
#include "core/instances/instances.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace minions::core {

/// Git repositories built into images and run as containers: /api/v1/vm. A deployment's container is an
/// instance like others, with the labels `deployment` (id) and `agent`; it is known by the row of that id,
/// never by its name. All methods: [any thread].
///
/// Where no runtime can serve, every method but recover() and read_log() throws Error{not_implemented} that
/// names each runtime and its reason.
class Deployments {
  public:
    /// Throws Error{invalid} for settings that cannot be used in a Dockerfile.
    Deployments(Store& store, Operations& operations, Instances& instances, Runtimes& runtimes,
                DeploymentOptions options);
    ~Deployments();
    Deployments(const Deployments&) = delete;
    Deployments& operator=(const Deployments&) = delete;

    /// Undoes what a former daemon left half done here: clones and unfinished records (images are Instances'
    /// to undo, by the journal). Call once at start, after Instances::start(). What resists now
    /// is returned, a sentence each, and tried again at the next start.
    std::vector<std::string> recover();

    /// Checks the request and starts the operation `deployment.deploy`, whose subject is the deployment's id.
    /// Its stages are queued, cloning, building, starting and watching; its result is {"container_id",
    /// "container_name", "status", "ports"}. It fails with `failed`, whose details have `stage`,
    /// `deployment_id` and `log` (the last lines), and leaves nothing outside the log. Throws at once
    /// invalid, not_implemented, too_many_requests, idempotency_mismatch, unavailable.
    OperationPtr deploy(DeployRequest request, const std::string& owner,
                        std::optional<Idempotency> idempotency = std::nullopt);

    /// The containers of deployments that are not stopped, or all of them, by age: an array of
    /// {"container_id", "container_name", "status", "created", "ports"}.
    Value list(const std::string& owner, bool all) const;

    /// Starts the operation `deployment.stop` or `deployment.remove`: stops a deployment's container,
    /// politely at first, and removes it with its image if asked to. What is stopped already is no error; a
    /// removal ends what else is under way. Its result is {"stopped": name, "removed"}. Throws at once
    /// not_found for what is no deployment of the owner, busy, idempotency_mismatch, unavailable.
    OperationPtr stop(const std::string& owner, const std::string& container_name, bool remove,
                      std::optional<Idempotency> idempotency = std::nullopt);

    /// {"container_status", "health_status", "http_probe"}: the engine's word on the container, on its health
    /// check
    /// ("none" without one), and what the agent answers at `path`. Throws invalid, not_found.
    Value health(const std::string& owner, const std::string& container_name, const std::string& path,
                 CallLimits limits);

    /// Hands the build log to `sink`, see DeploymentLogs::read(). Throws not_found.
    void read_log(const std::string& owner, const std::string& id, bool follow, int cancel_fd,
                  const std::function<void(std::string_view)>& sink);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace minions::core
