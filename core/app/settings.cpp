#include "core/app/settings.hpp"

#include <unistd.h>

namespace minions::core::settings {

AccessRules access(const Config& config) {
    AccessRules rules;
    rules.hosts = config.list("access.hosts");
    rules.group = config.string("access.group");
    for (const auto& entry : config.list("access.trusted")) rules.trusted.push_back(parse_trusted(entry));
    return rules;
}

http::Limits http_limits(const Config& config) {
    http::Limits limits;
    limits.json_bytes = config.size("http.max_body_bytes");
    limits.raw_bytes = config.size("http.max_upload_bytes");
    limits.connections = static_cast<std::size_t>(config.integer("http.max_connections"));
    limits.header_timeout = config.duration("http.header_timeout_seconds");
    limits.body_timeout = config.duration("http.body_timeout_seconds");
    limits.idle_timeout = config.duration("http.idle_timeout_seconds");
    limits.write_timeout = config.duration("http.write_timeout_seconds");
    limits.workers = static_cast<std::size_t>(config.integer("http.workers"));
    limits.waiting_threads = static_cast<std::size_t>(config.integer("http.waiting_threads"));
    limits.exec_threads = static_cast<std::size_t>(config.integer("http.exec_threads"));
    limits.stream_threads = static_cast<std::size_t>(config.integer("http.stream_threads"));
    return limits;
}

OperationsOptions operations(const Config& config) {
    OperationsOptions options;
    options.threads = static_cast<std::size_t>(config.integer("operations.threads"));
    return options;
}

InstancesOptions instances(const Config& config) {
    InstancesOptions options;
    options.create_timeout = config.duration("operations.create_timeout_seconds");
    options.change_timeout = config.duration("operations.timeout_seconds");
    options.destroy_timeout = options.change_timeout;
    return options;
}

ProcessOptions processes(const Config& config, const Paths& paths) {
    ProcessOptions options;
    options.state_dir = paths.state;
    options.run_dir = paths.run;
    options.shim = paths.shim;
    options.uid_first = config.integer("vms.uid_first");
    options.uid_count = config.integer("vms.uid_count");
    options.output_bytes = config.size("vms.output_bytes");
    return options;
}

ImageStoreOptions images(const Config& config, const Paths& paths) {
    ImageStoreOptions options;
    options.directory = paths.state / "images";
    options.recipes = paths.recipes;
    options.agent = paths.agent;
    options.max_bytes = config.size("images.max_bytes");
    options.build_timeout = config.duration("images.build_timeout_seconds");
    if (::geteuid() == 0) options.group = static_cast<gid_t>(config.integer("vms.uid_first"));
    return options;
}

NetOptions network(const Config& config) {
    NetOptions options;
    options.manage = config.boolean("network.manage");
    options.bridge = config.string("network.bridge");
    options.subnet = parse_subnet(config.string("network.subnet"));
    options.dns = config.list("network.dns");
    options.isolate = config.boolean("network.isolate");
    options.mtu = static_cast<int>(config.integer("network.mtu"));
    options.slots = config.integer("vms.uid_count");
    return options;
}

DeploymentOptions deployments(const Config& config) {
    DeploymentOptions options;
    options.work_dir = config.string("deployments.work_dir");
    options.runtime = config.string("deployments.runtime");
    options.allowed_schemes = config.list("deployments.allowed_schemes");
    options.allow_private_addresses = config.boolean("deployments.allow_private_addresses");
    options.key_dir = config.string("deployments.key_dir");
    options.known_hosts = config.string("deployments.known_hosts");
    options.user = config.string("deployments.user");
    options.python_image = config.string("deployments.python_image");
    options.pip_index_url = config.string("deployments.pip_index_url");
    options.max_parallel = static_cast<std::size_t>(config.integer("deployments.max_concurrent_builds"));
    options.max_pending = static_cast<std::size_t>(config.integer("deployments.max_pending"));
    options.queue_timeout = config.duration("deployments.queue_timeout_seconds");
    options.build_timeout = config.duration("deployments.build_timeout_seconds");
    options.clone_timeout = config.duration("deployments.clone_timeout_seconds");
    options.start_window = config.duration("deployments.start_window_seconds");
    options.max_clone_bytes = config.size("deployments.max_repository_bytes");
    options.max_image_bytes = static_cast<std::int64_t>(config.size("deployments.max_image_bytes"));
    options.build_memory_mb = config.integer("deployments.build_memory_mb");
    return options;
}

}  // namespace minions::core::settings
