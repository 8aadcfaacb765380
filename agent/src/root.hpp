#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace minions::agent {

/// What the kernel's command line says about the root file system.
struct RootRequest {
    std::string device;         ///< `root=`, a path below /dev
    std::string type = "ext4";  ///< `rootfstype=`
    std::string init;           ///< `minions.init=`, a path on that file system; empty: the agent stays init
};

/// Nothing if there is no `root=`. Of a word that stands twice the last counts, as for the kernel.
std::optional<RootRequest> parse_root(std::string_view command_line);

/// For the first process of an initramfs, with /proc, /sys and /dev mounted: waits for the disk that the
/// kernel's command line names, makes it the root with those three moved there, and frees what the initramfs
/// held. Executes `minions.init=` if it is given, and then does not return. Does nothing where the root is a
/// disk already, or none is named. What fails is told on the console, and the initramfs stays the root: such
/// a guest can be looked at.
void enter_root();

}  // namespace minions::agent
