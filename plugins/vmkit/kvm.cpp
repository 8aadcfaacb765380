#include "plugins/vmkit/kvm.hpp"

#include <minions/base/fd.hpp>

#include <fmt/format.h>

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace minions::vmkit {

namespace {

/// Whether the first "flags" line has one of the words.
bool has_virtualisation(const std::string& cpuinfo) {
    std::ifstream file(cpuinfo);
    for (std::string line; std::getline(file, line);) {
        if (!line.starts_with("flags")) continue;
        std::istringstream words(line);
        for (std::string word; words >> word;)
            if (word == "vmx" || word == "svm") return true;
        return false;
    }
    return false;
}

}  // namespace

KvmState kvm_state() { return kvm_state("/dev/kvm", "/proc/cpuinfo"); }

KvmState kvm_state(UseKvm use, std::string_view runtime) {
    if (use == UseKvm::yes) return {true, ""};
    if (use == UseKvm::no) return {false, fmt::format("runtimes.{}.kvm is no", runtime)};
    return kvm_state();
}

KvmState kvm_state(const std::string& device, const std::string& cpuinfo) {
    const Fd kvm(::open(device.c_str(), O_RDWR | O_CLOEXEC));
    if (!kvm && errno == ENOENT)
        return {false,
                fmt::format("there is no {}: enable virtualisation in the firmware or, in a VM, nesting, and "
                            "load kvm_intel or kvm_amd",
                            device)};
    if (!kvm)
        return {false, fmt::format("{} cannot be opened ({}): run as root or join its group", device,
                                   std::strerror(errno))};
    if (!has_virtualisation(cpuinfo))
        return {false,
                fmt::format("{} opens, but the CPU shows neither vmx nor svm: guests would hang; use a host "
                            "whose CPU offers virtualisation",
                            device)};
    return {true, ""};
}

}  // namespace minions::vmkit
