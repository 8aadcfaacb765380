#pragma once

#include "core/plugins/description.hpp"

#include <chrono>
#include <string>
#include <vector>

namespace minions::core {

/// `minions plugin-describe PLUGIN.so`: loads a plugin and prints its descriptor, or why not, as one JSON
/// document on standard output; what the plugin prints goes to standard error. Returns the exit code.
int plugin_describe_main(int argc, char** argv);

/// Asks a child process that runs the above for a plugin's descriptor, so that a plugin which crashes, hangs
/// or exits while it is loaded takes nobody along. Throws Refusal (crashed, hung, exited, and those of
/// load_plugin() and read_description()). [any thread]
PluginDescription describe_in_child(const std::string& program, const std::vector<std::string>& arguments,
                                    const std::string& plugin, std::chrono::milliseconds timeout);

}  // namespace minions::core
