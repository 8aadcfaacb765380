#pragma once

#include <minions/value.hpp>

#include <string>
#include <vector>

namespace minions::cli {

/// The object of KEY=VALUE arguments. With `from_environment`, KEY by itself takes the value of this
/// process's variable, so that a secret need not stand on the command line. Throws UsageError that names
/// `option`.
Value key_values(const std::vector<std::string>& arguments, const char* option, bool from_environment);

/// A published port, [[ADDRESS:]HOST_PORT:]PORT[/udp], as the API takes it. Throws UsageError.
Value published_port(const std::string& argument);

/// "90", "30s", "15m", "12h", "30d" as seconds. Throws UsageError that names `option`.
std::int64_t seconds_of(const std::string& argument, const char* option);

/// The path of an instance's resource: instance_path("a", "/logs") is "/api/vms/a/logs".
std::string instance_path(const std::string& name, const std::string& below = {});

}  // namespace minions::cli
