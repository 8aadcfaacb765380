#pragma once

#include "plugins/docker/config.hpp"

#include <minions/types.hpp>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The engine's JSON documents as our structs, and back. Members that an engine leaves out (Podman does) or
/// sends as null are read as absent; nothing here throws for them. Pure functions. [any thread]
namespace minions::docker {

/// Body of POST /containers/create.
Value container_document(const Config& config, const Instance& instance,
                         const std::map<std::string, std::string>& labels);

/// Gives such a body what `config`, the `Config` of an inspected container, has from its image or its own
/// create: what runs and how, labels, environment. What the body says already stays.
void take_configuration(Value& body, const Value& config, const InstanceSpec& spec);

/// Body of POST /containers/{id}/update.
Value update_document(const ResizeSpec& spec);

/// Body of POST /containers/{id}/exec.
Value exec_document(const ExecSpec& spec, bool with_input);

/// From GET /containers/{id}/json.
InstanceFacts facts_from_inspect(const Value& document);

/// From one element of GET /containers/json: all but the pid and what only inspect tells.
InstanceFacts facts_from_list(const Value& element);

/// Exit code in a list's status text, as in "Exited (143) 2 minutes ago".
std::optional<int> exit_code_in(std::string_view status_text);
/// Health in a list's status text, as in "Up 2 minutes (healthy)".
std::optional<std::string> health_in(std::string_view status_text);

/// What one look at GET /containers/{id}/stats says of the processor.
struct CpuSample {
    std::uint64_t used_ns = 0;
    std::chrono::nanoseconds at{0};  ///< by the engine's clock
};
CpuSample cpu_sample(const Value& stats);
/// Of one CPU; nullopt if the samples are not apart.
std::optional<double> cpu_percent(const CpuSample& before, const CpuSample& after);

/// All but the CPU's share.
Stats stats_from(const Value& stats, const Value& inspected, std::chrono::system_clock::time_point now);

/// Nanoseconds since 1970 of an RFC 3339 time with up to nine decimals; nullopt if it is none or the zero
/// time 0001-01-01.
std::optional<std::chrono::nanoseconds> parse_time(std::string_view text);

/// One message of GET /events about a container.
struct ContainerEvent {
    std::string action;  ///< "die", "start", "health_status: healthy", …
    std::string container;
    std::string instance;  ///< our label; empty for a container of another kind
};
/// nullopt for messages that are about something else.
std::optional<ContainerEvent> container_event(const Value& message);

/// "python:3.11-slim" as the parameters of POST /images/create.
struct ImageReference {
    std::string name;
    std::string tag;  ///< or digest; "latest" where the reference has none
};
/// nullopt for an image id ("sha256:…" or 64 hexadecimal digits), which no registry knows.
std::optional<ImageReference> pullable(std::string_view image);

/// An API version as a number that can be compared: "1.41" → 1041. nullopt if it is none.
std::optional<int> api_version_number(std::string_view text);

}  // namespace minions::docker
