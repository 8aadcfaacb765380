#pragma once

#include "core/access/access.hpp"
#include "core/config/config.hpp"
#include "core/deployments/options.hpp"
#include "core/http/server.hpp"
#include "core/instances/instances.hpp"
#include "core/operations/operations.hpp"

/// The configuration as the options of each part of the daemon.
namespace minions::core::settings {

AccessRules access(const Config& config);
http::Limits http_limits(const Config& config);
OperationsOptions operations(const Config& config);
InstancesOptions instances(const Config& config);
DeploymentOptions deployments(const Config& config);

}  // namespace minions::core::settings
