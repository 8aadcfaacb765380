#pragma once

#include <minions/types.hpp>

#include <map>
#include <string>
#include <string_view>

/// How containers and images are known as ours: by labels and id, never by name.
namespace minions::docker::label {

inline constexpr std::string_view prefix = "minions.";
inline constexpr std::string_view installation = installation_label;
inline constexpr std::string_view instance = "minions.instance";
inline constexpr std::string_view name = "minions.name";
inline constexpr std::string_view owner = "minions.owner";

/// All labels of an instance's container: the user's and ours. Throws invalid for a user label that begins
/// with `minions.`.
std::map<std::string, std::string> for_container(const std::string& installation_id,
                                                 const Instance& instance);

/// All labels of a built image. Core marks images with labels of its own there, so `minions.` is allowed,
/// but none overrides the installation.
std::map<std::string, std::string> for_image(const std::string& installation_id, const BuildSpec& spec);

/// Whether the `Labels` member of an engine's document says that the object is this installation's. An
/// absent or null member is nobody's.
bool is_ours(const Value& labels, std::string_view installation_id);

/// `{"label":["minions.installation=…", "minions.instance=…"]}`: the value of a `filters` parameter.
/// An empty instance id leaves the second out.
std::string filter(std::string_view installation_id, std::string_view instance_id = {});

}  // namespace minions::docker::label
