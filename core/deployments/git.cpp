#include "core/deployments/git.hpp"

#include "core/deployments/git_transport.hpp"
#include "core/deployments/tree_size.hpp"

#include <minions/base/event_fd.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <arpa/inet.h>
#include <pwd.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

namespace minions::core {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t max_line_bytes = 1024;
constexpr std::size_t max_output_bytes = 1U << 20U;
/// Of each process, addresses and not pages: what a hostile repository can make git ask for.
constexpr rlim_t max_memory = rlim_t{1} << 30U;

/// Raises stop_fd() when the caller cancels or the tree grows beyond the limit; looks for as long as it
/// lives.
class Watch {
  public:
    Watch(const fs::path& directory, std::uint64_t max_bytes, int cancel_fd)
        : directory_(directory), max_bytes_(max_bytes), cancel_fd_(cancel_fd), thread_([this] { look(); }) {}
    ~Watch() { finish(); }

    int stop_fd() const noexcept { return stop_.fd(); }
    void finish() {
        done_.raise();
        if (thread_.joinable()) thread_.join();
    }
    bool too_large() const noexcept { return too_large_; }

  private:
    void look() {
        milliseconds pause(200);
        for (;;) {
            pollfd wait[2] = {{done_.fd(), POLLIN, 0}, {cancel_fd_, POLLIN, 0}};
            if (poll_until(wait, 2, deadline_in(pause)) != 0) break;
            const auto before = steady_clock::now();
            if (tree_bytes(directory_, max_bytes_) > max_bytes_) {
                too_large_ = true;
                break;
            }
            // A tree that takes long to walk is walked less often.
            const auto took = std::chrono::ceil<milliseconds>(steady_clock::now() - before);
            pause = std::max(milliseconds(200), 10 * took);
        }
        stop_.raise();
    }

    const fs::path& directory_;
    std::uint64_t max_bytes_;
    int cancel_fd_;
    EventFd done_;
    EventFd stop_;
    std::atomic<bool> too_large_{false};
    std::thread thread_;
};

/// Takes git's output to lines that are safe to show: printable, bounded, without the token.
class Lines {
  public:
    Lines(const SecretBytes* token, const std::function<void(std::string_view)>& log)
        : token_(token), log_(log) {}

    void add(std::string_view piece) {
        for (const char c : piece) {
            if (c == '\n' || c == '\r') {
                end_line();
            } else if (line_.size() < max_line_bytes) {
                const auto byte = static_cast<unsigned char>(c);
                line_ += byte < ' ' || byte == 0x7f ? '?' : c;
            }
        }
    }
    void end_line() {
        if (line_.empty()) return;
        if (token_ != nullptr && !token_->empty()) {
            for (auto at = line_.find(token_->text()); at != std::string::npos;
                 at = line_.find(token_->text())) {
                line_.replace(at, token_->text().size(), "***");
            }
        }
        if (!is_utf8(line_))
            std::replace_if(
                line_.begin(), line_.end(), [](char c) { return c < 0; }, '?');
        log_(line_);
        all_ += line_;
        all_ += '\n';
        if (line_.starts_with("fatal: ") || line_.starts_with("error: ") || line_.starts_with("ERROR: ")) {
            if (reason_.empty()) reason_ = line_.substr(line_.find(' ') + 1);
        }
        last_ = line_;
        line_.clear();
    }

    bool said(std::string_view words) const { return all_.find(words) != std::string::npos; }
    /// The first complaint, else the last line.
    const std::string& reason() const { return reason_.empty() ? last_ : reason_; }

  private:
    const SecretBytes* token_;
    const std::function<void(std::string_view)>& log_;
    std::string line_;
    std::string all_;
    std::string reason_;
    std::string last_;
};

[[noreturn]] void fail(const CloneRequest& request, const Lines& lines, const ExitStatus& status) {
    const auto where = request.url.text();
    if (lines.said("Out of memory")) {
        throw Error(Code::failed,
                    fmt::format("git needs more than {} MiB of memory for the repository {}",
                                max_memory >> 20U, where),
                    "a smaller repository, without large files in its history, can be deployed");
    }
    if (lines.said("Remote branch") && lines.said("not found in upstream")) {
        throw Error(Code::failed, fmt::format("the repository {} has no branch '{}'", where, request.branch),
                    "name one that exists in 'branch'");
    }
    if (lines.said("Authentication failed") || lines.said("could not read Username") ||
        lines.said("could not read Password")) {
        throw Error(
            Code::failed,
            request.token == nullptr
                ? fmt::format(
                      "the server of {} asks for credentials: the repository is private or does not exist",
                      where)
                : fmt::format("the server of {} did not accept the token", where),
            "give a token that may read it in 'auth_token'");
    }
    if (lines.said("Host key verification failed") || lines.said("host key is known for")) {
        throw Error(Code::failed,
                    fmt::format("the ssh server of {} is not the one that is known, or not known", where),
                    "let the operator add its host key to the file deployments.known_hosts");
    }
    if (lines.said("Permission denied (publickey")) {
        throw Error(Code::failed, fmt::format("the ssh server of {} did not accept the key", where),
                    "register the key's public part with the server");
    }
    if (lines.said("unable to update url base from redirection") || lines.said("returned error: 30")) {
        throw Error(Code::failed, fmt::format("the server of {} redirects, which is not followed", where),
                    "use the address that it redirects to");
    }
    throw Error(Code::failed, fmt::format("git could not clone {}: {}", where,
                                          lines.reason().empty() ? status.to_string() : lines.reason()));
}

bool is_address(const std::string& host) {
    in6_addr buffer{};
    return ::inet_pton(AF_INET, host.c_str(), &buffer) == 1 ||
           ::inet_pton(AF_INET6, host.c_str(), &buffer) == 1;
}

/// curl's HOST:PORT:ADDRESS[,ADDRESS]: git connects to what was checked, whatever the name means by then.
std::string pinned_addresses(const CloneRequest& request) {
    std::vector<std::string> addresses = request.addresses;
    for (auto& address : addresses) {
        if (address.find(':') != std::string::npos) address = "[" + address + "]";
    }
    return fmt::format("{}:{}:{}", request.url.host, request.url.effective_port(), fmt::join(addresses, ","));
}

SpawnOptions spawn_options(const CloneRequest& request, const fs::path& directory,
                           const DeploymentOptions& options) {
    SpawnOptions spawn;
    spawn.argv = git_arguments(request, options);
    spawn.cwd = directory;
    spawn.identity = git_identity(options);
    spawn.umask = 022;
    const auto bytes = static_cast<rlim_t>(options.max_clone_bytes);
    spawn.limits = {{RLIMIT_FSIZE, {bytes, bytes}},
                    {RLIMIT_AS, {max_memory, max_memory}},
                    {RLIMIT_CORE, {0, 0}},
                    {RLIMIT_NOFILE, {1024, 1024}}};
    add_transport(spawn, request, options, directory);
    return spawn;
}

}  // namespace

std::optional<Identity> git_identity(const DeploymentOptions& options) {
    if (::geteuid() != 0) return std::nullopt;
    passwd entry{};
    passwd* found = nullptr;
    std::vector<char> buffer(16 * 1024);
    if (::getpwnam_r(options.user.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 ||
        found == nullptr) {
        throw Error(Code::unavailable,
                    fmt::format("the user '{}', whom git is to run as, does not exist", options.user),
                    "make the user, or name another in deployments.user");
    }
    return Identity{entry.pw_uid, entry.pw_gid, {}};
}

std::vector<std::string> git_arguments(const CloneRequest& request, const DeploymentOptions& options) {
    std::vector<std::string> settings = {
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "core.askPass=",
        "credential.helper=",
        "protocol.allow=never",
        "http.followRedirects=false",
        "http.lowSpeedLimit=100",
        "http.lowSpeedTime=60",
        "fetch.uriProtocols=",
        "transfer.bundleURI=false",
        "transfer.fsckObjects=true",
        // Old but harmless oddities of many public repositories.
        "fetch.fsck.zeroPaddedFilemode=ignore",
        "fetch.fsck.badTimezone=ignore",
        "fetch.fsck.missingSpaceBeforeDate=ignore",
        "filter.lfs.required=false",
        "filter.lfs.smudge=",
        "filter.lfs.process=",
        "submodule.recurse=false",
        // Memory: larger files go through it in pieces, and packs are mapped by pieces.
        "core.bigFileThreshold=16m",
        "core.packedGitWindowSize=16m",
        "core.packedGitLimit=256m",
        "pack.threads=1",
        "gc.auto=0",
        "maintenance.auto=false",
    };
    const bool by_curl = request.url.scheme == "https" || request.url.scheme == "http";
    if (by_curl && !request.addresses.empty() && !is_address(request.url.host)) {
        settings.push_back("http.curloptResolve=" + pinned_addresses(request));
    }
    std::vector<std::string> argv = {options.git_program};
    for (auto& setting : settings) {
        argv.emplace_back("-c");
        argv.push_back(std::move(setting));
    }
    for (const char* fixed : {"clone", "--depth=1", "--single-branch", "--no-tags", "--no-recurse-submodules",
                              "--no-local", "--template="}) {
        argv.emplace_back(fixed);
    }
    argv.push_back("--branch=" + request.branch);
    argv.emplace_back("--");
    argv.push_back(request.url.text());
    argv.emplace_back("tree");
    return argv;
}

void clone_repository(const CloneRequest& request, const fs::path& directory,
                      const DeploymentOptions& options, const CloneLimits& limits,
                      const std::function<void(std::string_view)>& log) {
    const auto too_large = [&] {
        return Error(Code::too_large,
                     fmt::format("the repository {} is larger than {} MiB, or nested too deeply to tell",
                                 request.url.text(), options.max_clone_bytes >> 20U),
                     "the setting deployments.max_repository_bytes can allow more");
    };
    const auto deadline = std::min(limits.deadline, deadline_in(options.clone_timeout));
    Lines lines(request.token, log);
    Watch watch(directory, options.max_clone_bytes, limits.cancel_fd);
    const RunResult result = run(spawn_options(request, directory, options),
                                 RunLimits{deadline, max_output_bytes, watch.stop_fd()},
                                 [&](Output, std::string_view piece) { lines.add(piece); });
    watch.finish();
    lines.end_line();
    if (!result.success() && (lines.said("No space left on device") || lines.said("Disk quota exceeded"))) {
        throw Error(Code::no_space,
                    fmt::format("no space is left in {} to clone {}", directory.parent_path().string(),
                                request.url.text()),
                    "free space there, or name another directory in deployments.work_dir", true);
    }
    // Past RLIMIT_FSIZE a signal ends index-pack in silence: any other failure of it is told before this
    // line.
    const bool cut_off = result.status.signal == SIGXFSZ || lines.said("File too large") ||
                         lines.reason() == "fetch-pack: invalid index-pack output";
    if (watch.too_large() || cut_off) throw too_large();
    switch (result.end) {
        case RunEnd::cancelled:
            throw Error(Code::cancelled, "the deployment was cancelled while cloning");
        case RunEnd::deadline:
            if (limits.deadline <= deadline)
                throw Error(Code::deadline, "the deployment's time ran out while cloning");
            throw Error(Code::failed, fmt::format("cloning {} took longer than {} s", request.url.text(),
                                                  options.clone_timeout.count() / 1000));
        case RunEnd::too_much_output:
            throw Error(Code::failed, fmt::format("git said too much while cloning {}", request.url.text()));
        case RunEnd::exited:
            break;
    }
    if (!result.success()) fail(request, lines, result.status);
    if (tree_bytes(directory, options.max_clone_bytes) > options.max_clone_bytes) throw too_large();
}

}  // namespace minions::core
