#pragma once

#include "core/access/access.hpp"
#include "core/app/paths.hpp"
#include "core/config/config.hpp"
#include "core/deployments/options.hpp"
#include "core/http/server.hpp"
#include "core/images/image_store.hpp"
#include "core/instances/instances.hpp"
#include "core/net/options.hpp"
#include "core/operations/operations.hpp"
#include "core/process/options.hpp"

/// The configuration as the options of each part of the daemon.
namespace minions::core::settings {

AccessRules access(const Config& config);
http::Limits http_limits(const Config& config);
OperationsOptions operations(const Config& config);
InstancesOptions instances(const Config& config);
ProcessOptions processes(const Config& config, const Paths& paths);
/// Without default_name and instance_name.
ImageStoreOptions images(const Config& config, const Paths& paths);
/// Without log.
NetOptions network(const Config& config);
DeploymentOptions deployments(const Config& config);

}  // namespace minions::core::settings
