#include "core/deployments/git_transport.hpp"

#include <minions/base/files.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace minions::core {
namespace {

// The numbers by which git's helpers find what they inherit.
constexpr int token_fd = 3;
constexpr int helper_fd = 4;
constexpr int key_fd = 5;
constexpr int known_hosts_fd = 6;

// git asks with exactly these prompts, in the language of LANG=C. What it asks about another host gets no
// answer. printf is built into the shell: the token is in no argument list.
constexpr std::string_view askpass_script = R"(#!/bin/sh
case "$1" in
"Username for '$MINIONS_ORIGIN': ") printf '%s\n' x-access-token ;;
"Password for '$MINIONS_LOGIN': ") IFS= read -r token <&3 && printf '%s\n' "$token" ;;
*) exit 1 ;;
esac
)";

// ssh closes every descriptor above 2 when it starts, so it reads key and host keys from this shell's; hence
// no exec. `Hostname` is the address that was checked, `HostKeyAlias` the name that the host key must belong
// to.
constexpr std::string_view ssh_script = R"(#!/bin/sh
"$MINIONS_SSH" -F /dev/null \
    -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o PreferredAuthentications=publickey \
    -o StrictHostKeyChecking=yes -o UpdateHostKeys=no -o CheckHostIP=no -o GlobalKnownHostsFile=/dev/null \
    -o "UserKnownHostsFile=/proc/$$/fd/6" -o "IdentityFile=/proc/$$/fd/5" \
    -o ProxyCommand=none -o PermitLocalCommand=no -o ClearAllForwardings=yes -o ForwardAgent=no \
    -o ControlMaster=no -o ControlPath=none -o RequestTTY=no -o LogLevel=ERROR -o ConnectTimeout=20 \
    -o "Hostname=$MINIONS_SSH_ADDRESS" -o "HostKeyAlias=$MINIONS_SSH_ALIAS" \
    "$@"
status=$?
exit "$status"
)";

Fd token_pipe(const SecretBytes& token) {
    auto pipe = make_pipe();
    write_all(pipe.second.get(), token.text().data(), token.text().size());
    write_all(pipe.second.get(), "\n", 1);
    return std::move(pipe.first);
}

void add_askpass(SpawnOptions& spawn, const CloneRequest& request) {
    const auto& url = request.url;
    const auto host = url.url_host() + (url.port == 0 ? "" : fmt::format(":{}", url.port));
    spawn.env.push_back(fmt::format("MINIONS_ORIGIN={}://{}", url.scheme, host));
    spawn.env.push_back(fmt::format("MINIONS_LOGIN={}://x-access-token@{}", url.scheme, host));
    spawn.env.push_back(fmt::format("GIT_ASKPASS=/proc/self/fd/{}", helper_fd));
    spawn.fds.emplace_back(token_fd, token_pipe(*request.token));
    spawn.fds.emplace_back(helper_fd, memory_file(askpass_script, 0555, spawn.identity));
}

void add_ssh(SpawnOptions& spawn, const CloneRequest& request, const DeploymentOptions& options) {
    const auto& url = request.url;
    const int port = url.effective_port();
    const auto alias = port == 22 ? url.host : fmt::format("[{}]:{}", url.host, port);
    spawn.env.push_back(fmt::format("GIT_SSH=/proc/self/fd/{}", helper_fd));
    spawn.env.push_back("GIT_SSH_VARIANT=ssh");
    spawn.env.push_back("MINIONS_SSH=" + options.ssh_program);
    spawn.env.push_back("MINIONS_SSH_ADDRESS=" + request.addresses.at(0));
    spawn.env.push_back("MINIONS_SSH_ALIAS=" + alias);
    spawn.fds.emplace_back(helper_fd, memory_file(ssh_script, 0555, spawn.identity));
    spawn.fds.emplace_back(key_fd, memory_file(request.key->text(), 0400, spawn.identity));
    spawn.fds.emplace_back(known_hosts_fd, memory_file(request.known_hosts->text(), 0400, spawn.identity));
}

}  // namespace

Fd memory_file(std::string_view contents, mode_t mode, const std::optional<Identity>& identity) {
    Fd file(::memfd_create("minions", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!file) throw error_from_errno(errno, "cannot make a file in memory");
    write_all(file.get(), contents.data(), contents.size());
    constexpr int seals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
    if (::fcntl(file.get(), F_ADD_SEALS, seals) != 0 ||
        (identity && ::fchown(file.get(), identity->uid, identity->gid) != 0) ||
        ::fchmod(file.get(), mode) != 0) {
        throw error_from_errno(errno, "cannot prepare a file in memory");
    }
    return file;
}

void add_transport(SpawnOptions& spawn, const CloneRequest& request, const DeploymentOptions& options,
                   const std::filesystem::path& directory) {
    std::string global = "/dev/null";
    if (request.url.scheme == "file") {
        // git refuses repositories of other users on this machine unless it is told, and on the far side of
        // the transport that works by a file only. The scheme is off unless the operator allows it.
        global = directory / "gitconfig";
        write_file_atomic(global, "[safe]\n\tdirectory = *\n", 0644);
    }
    spawn.env = {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG=C",
        "LC_ALL=C",
        "HOME=" + directory.string(),
        "TMPDIR=" + directory.string(),
        "GIT_CONFIG_NOSYSTEM=1",
        "GIT_CONFIG_GLOBAL=" + global,
        "GIT_ATTR_NOSYSTEM=1",
        "GIT_TERMINAL_PROMPT=0",
        "GIT_ALLOW_PROTOCOL=" + request.url.scheme,
        "GIT_OPTIONAL_LOCKS=0",
    };
    if (request.url.scheme == "ssh") {
        add_ssh(spawn, request, options);
    } else if (request.token != nullptr && request.url.scheme != "file") {
        add_askpass(spawn, request);
    }
}

}  // namespace minions::core
