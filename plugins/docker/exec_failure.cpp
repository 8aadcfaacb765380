#include "plugins/docker/exec_failure.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace minions::docker {
namespace {

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

struct Phrase {
    std::string_view text;
    ExecFailure what;
};

/// The first that occurs decides.
constexpr Phrase phrases[] = {
    {"cannot exec in a stopped container", ExecFailure::stopped},
    {"cannot exec in a paused container", ExecFailure::stopped},
    {"cannot exec a container that has", ExecFailure::stopped},
    {"container state improper", ExecFailure::stopped},
    {"is not running", ExecFailure::stopped},
    {"is paused", ExecFailure::stopped},
    {"unable to find user", ExecFailure::user},
    {"unable to find group", ExecFailure::user},
    {"no matching entries in passwd", ExecFailure::user},
    {"chdir to", ExecFailure::directory},
    {"no such file or directory: OCI not found", ExecFailure::not_found},
    {"executable file", ExecFailure::not_found},
    {"not found in $PATH", ExecFailure::not_found},
    {"no such file or directory", ExecFailure::not_found},
    {"No such file or directory", ExecFailure::not_found},
    {"permission denied", ExecFailure::not_executable},
    {"Permission denied", ExecFailure::not_executable},
    {"is a directory", ExecFailure::not_executable},
    {"exec format error", ExecFailure::not_executable},
    {"OCI runtime", ExecFailure::other},
};

}  // namespace

bool looks_like_exec_failure(std::string_view bytes) {
    // Podman's way to say it, with more than one message.
    if (bytes.starts_with("Error: ")) bytes.remove_prefix(7);
    constexpr std::string_view beginnings[] = {
        "OCI runtime exec failed", "unable to find user", "unable to find group", "runc: ", "crun: ",
        "read unixpacket @"};
    return std::any_of(std::begin(beginnings), std::end(beginnings),
                       [&](std::string_view beginning) { return bytes.starts_with(beginning); });
}

ExecFailure classify_exec_failure(std::string_view message) {
    for (const auto& phrase : phrases) {
        if (has(message, phrase.text)) return phrase.what;
    }
    return ExecFailure::none;
}

std::string plain_exec_failure(std::string_view message) {
    for (const std::string_view chain : {"unable to start container process: ", "exec failed: "}) {
        if (const auto at = message.rfind(chain); at != std::string_view::npos) {
            message.remove_prefix(at + chain.size());
            break;
        }
    }
    while (!message.empty() && (message.back() == '\n' || message.back() == '\r')) message.remove_suffix(1);
    if (message.ends_with(": unknown")) message.remove_suffix(9);
    return std::string(message);
}

std::string exec_failure_line(std::string_view command, ExecFailure what, std::string_view message) {
    switch (what) {
        case ExecFailure::not_found:
            return fmt::format("{}: command not found\n", command);
        case ExecFailure::not_executable:
            return fmt::format("{}: cannot be executed: {}\n", command, plain_exec_failure(message));
        default:
            return fmt::format("{}: {}\n", command, plain_exec_failure(message));
    }
}

}  // namespace minions::docker
