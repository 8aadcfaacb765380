#pragma once

#include "core/deployments/build_slots.hpp"
#include "core/deployments/git.hpp"
#include "core/deployments/log_file.hpp"
#include "core/deployments/request.hpp"
#include "core/deployments/work_directory.hpp"
#include "core/instances/instances.hpp"

#include <memory>
#include <string>

namespace minions::core {

/// The labels by which a deployment's container is known.
inline constexpr const char* deployment_label = "deployment";
inline constexpr const char* agent_label = "agent";

/// What deployments share.
struct DeployServices {
    Store& store;
    Instances& instances;
    const DeploymentOptions& options;
    DeploymentLogs& logs;
    BuildSlots& slots;
};

/// What one deploy call needs beside its request; wiped as soon as git has read it.
struct DeploySecrets {
    std::optional<SecretBytes> token;
    std::optional<SecretBytes> key;
    std::optional<SecretBytes> known_hosts;
};

/// The reply of a deploy, and an entry of the list.
Value container_document(const InstanceView& view);
/// Docker's word for a status: running, paused, exited, created, dead, removing.
std::string_view container_status(Status status) noexcept;

/// The work of one deploy operation.
class DeployJob {
  public:
    DeployJob(DeployServices services, DeploymentRow row, DeployRequest request, RepoUrl url,
              DeploySecrets secrets, const RuntimeHandle& runtime, std::unique_ptr<DeploymentLog> log);

    /// Returns the result, or throws after having undone everything.
    Value run(OperationContext& operation);

    /// Writes into the row how it ended, and stores it; in the commit that finishes the operation.
    void finish(Transaction& transaction, const OperationRow& ended);

  private:
    Value deploy(OperationContext& operation);
    void enter(OperationContext& operation, const char* stage);
    void clone(OperationContext& operation, const std::filesystem::path& directory);
    std::string build(OperationContext& operation, const std::filesystem::path& tree);
    Value start(OperationContext& operation, const std::string& image);
    InstanceViewPtr create(OperationContext& operation, const CreateRequest& wanted);
    CreateRequest create_request(const std::string& image) const;
    void give_image(Transaction& transaction, const std::string& operation, const InstanceRow& instance);
    void take_image_back(Transaction& transaction, const InstanceRow& instance);
    void watch(OperationContext& operation, Unacknowledged& instance);
    std::string last_words(OperationContext& operation, Unacknowledged& instance);
    void roll_back(OperationContext& operation) noexcept;
    Error explained(const Error& error) const;

    DeployServices services_;
    DeploymentRow row_;
    DeployRequest request_;
    RepoUrl url_;
    DeploySecrets secrets_;
    const RuntimeHandle& runtime_;
    std::unique_ptr<DeploymentLog> log_;
    bool inserted_ = false;  ///< an instance has taken over the image
};

}  // namespace minions::core
