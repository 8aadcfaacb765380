#include "core/deployments/git.hpp"

#include "tests/unit/core/deployments/support.hpp"

#include <minions/base/deadline.hpp>
#include <minions/base/event_fd.hpp>

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <thread>

using namespace minions;
using namespace minions::core;
using namespace minions::core::test;

namespace {

DeploymentOptions options() {
    DeploymentOptions result;
    result.allowed_schemes = {"https", "ssh", "http", "file"};
    result.allow_private_addresses = true;
    result.clone_timeout = std::chrono::minutes(1);
    return result;
}

/// A work directory as a deployment has it: it belongs to whom git runs as.
std::filesystem::path work_in(const Directory& directory) {
    const auto work = directory / "work";
    std::filesystem::create_directories(work);
    if (const auto identity = git_identity(options())) {
        REQUIRE(::chown(work.c_str(), identity->uid, identity->gid) == 0);
    }
    REQUIRE(::chmod(work.c_str(), 0700) == 0);
    return work;
}

CloneRequest request_for(const std::string& url, const std::string& branch = "main") {
    CloneRequest request;
    request.url = parse_repo_url(url, options().allowed_schemes);
    request.branch = branch;
    if (request.url.scheme != "file") request.addresses = {"127.0.0.1"};
    return request;
}

std::string clone(const CloneRequest& request, const std::filesystem::path& work,
                  const DeploymentOptions& with = options(), int cancel_fd = -1) {
    std::string log;
    clone_repository(request, work, with, {no_deadline, cancel_fd}, [&](std::string_view line) {
        log += line;
        log += '\n';
    });
    return log;
}

/// A web server that asks for credentials and, once it got some, goes silent.
class PrivateServer {
  public:
    PrivateServer() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        auto* generic = reinterpret_cast<sockaddr*>(&address);
        REQUIRE(::bind(socket_.get(), generic, size) == 0);
        REQUIRE(::listen(socket_.get(), 8) == 0);
        REQUIRE(::getsockname(socket_.get(), generic, &size) == 0);
        port_ = ntohs(address.sin_port);
        thread_ = std::thread([this] { serve(); });
    }
    ~PrivateServer() {
        ::shutdown(socket_.get(), SHUT_RDWR);
        thread_.join();
    }
    std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/x.git"; }
    /// The Authorization header that came.
    std::string authorization() { return authorization_.get_future().get(); }

  private:
    static std::string header(const std::string& request) {
        const auto at = request.find("Authorization: ");
        return at == std::string::npos ? "" : request.substr(at + 15, request.find('\r', at) - at - 15);
    }
    void serve() {
        Fd silent;
        for (;;) {
            Fd peer(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            if (!peer) return;
            std::string request;
            char buffer[4096];
            for (;;) {
                const auto count = ::read(peer.get(), buffer, sizeof buffer);
                if (count <= 0) break;
                request.append(buffer, static_cast<std::size_t>(count));
                if (!request.ends_with("\r\n\r\n")) continue;
                if (const auto found = header(request); !found.empty()) {
                    silent = duplicate(peer.get());
                    authorization_.set_value(found);
                    break;
                }
                const std::string_view refusal =
                    "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: "
                    "0\r\n\r\n";
                write_all(peer.get(), refusal.data(), refusal.size());
                request.clear();
            }
        }
    }

    Fd socket_;
    std::uint16_t port_ = 0;
    std::promise<std::string> authorization_;
    std::thread thread_;
};

/// Command lines and environments of all processes but this one that contain the text.
std::vector<std::string> processes_showing(const std::string& needle) {
    std::vector<std::string> found;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
        const auto name = entry.path().filename().string();
        if (name.find_first_not_of("0123456789") != std::string::npos || name == std::to_string(::getpid()))
            continue;
        for (const char* file : {"cmdline", "environ"}) {
            if (read(entry.path() / file).find(needle) != std::string::npos)
                found.push_back(name + "/" + file);
        }
    }
    return found;
}

}  // namespace

TEST_CASE("a branch is cloned without history, hooks or remotes of others") {
    const Directory directory;
    const auto url =
        make_repository(directory.path(), "agent", {{"main.py", "print(1)\n"}, {"sub/a", "b"}}, "feature/x");
    const auto work = work_in(directory);
    clone(request_for(url, "feature/x"), work);
    CHECK(read(work / "tree/main.py") == "print(1)\n");
    CHECK(read(work / "tree/sub/a") == "b");
    CHECK_FALSE(std::filesystem::exists(work / "tree/.git/hooks"));
    if (const auto identity = git_identity(options())) {
        struct stat info {};
        REQUIRE(::stat((work / "tree/main.py").c_str(), &info) == 0);
        CHECK(info.st_uid == identity->uid);
    }
}

TEST_CASE("a branch or repository that is not there is told in a sentence") {
    const Directory directory;
    const auto url = make_repository(directory.path(), "agent", {});
    const auto work = work_in(directory);
    const Error branch = error_of([&] { clone(request_for(url, "absent"), work); });
    CHECK(branch.code() == Code::failed);
    CHECK(branch.message().find("no branch 'absent'") != std::string::npos);
    const Error repository = error_of([&] { clone(request_for(url + "x"), work); });
    CHECK(repository.code() == Code::failed);
    CHECK(repository.message().find("agent.gitx") != std::string::npos);
}

TEST_CASE("hostile values run nothing, even if nobody checked them") {
    const Directory directory;
    const auto url = make_repository(directory.path(), "agent", {{"main.py", ""}});
    const auto work = work_in(directory);
    const auto marker = (work / "executed").string();
    auto request = request_for(url);
    SECTION("as a branch") {
        request.branch =
            GENERATE_COPY(as<std::string>(), "--upload-pack=touch " + marker, "-c core.pager=" + marker,
                          "$(touch " + marker + ")", "`touch " + marker + "`", "; touch " + marker);
    }
    SECTION("as a path") {
        request.url.path =
            GENERATE_COPY(as<std::string>(), "/$(touch " + marker + ")", "/`touch " + marker + "`",
                          "/;touch " + marker, "/'; touch " + marker + " '");
    }
    SECTION("as a scheme") {
        request.url.scheme = "ext";
        request.url.path = "::sh -c touch% " + marker;
    }
    CHECK(error_of([&] { clone(request, work); }).code() == Code::failed);
    CHECK_FALSE(std::filesystem::exists(marker));
}

TEST_CASE("what a repository brings is not run") {
    const Directory directory;
    const auto work = work_in(directory);
    const auto marker = (work / "executed").string();
    const auto url = make_repository(
        directory.path(), "agent",
        {{".gitattributes", "* filter=evil\n*.bin filter=lfs\n"},
         {"a.bin", "version https://git-lfs.github.com/spec/v1\n"},
         {".gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = ext::touch " + marker + "\n"},
         {".gitconfig", "[filter \"evil\"]\n\tsmudge = touch " + marker + "\n"}});
    clone(request_for(url), work);
    CHECK(std::filesystem::exists(work / "tree/a.bin"));
    CHECK_FALSE(std::filesystem::exists(marker));
}

TEST_CASE("a repository that is too large is refused") {
    const Directory directory;
    std::string noise(3 << 20, '\0');
    unsigned state = 1;
    for (char& c : noise) c = static_cast<char>((state = state * 1103515245 + 12345) >> 16);
    const auto url = make_repository(directory.path(), "agent", {{"big", noise}});
    auto small = options();
    small.max_clone_bytes = 1 << 20;
    const auto work = work_in(directory);
    const Error error = error_of([&] { clone(request_for(url), work, small); });
    CHECK(error.code() == Code::too_large);
}

TEST_CASE("a large file of a repository does not go through memory") {
    const Directory directory;
    const auto url = make_repository(directory.path(), "agent", {{"main.py", ""}});
    const auto bare = directory / "agent.git";
    run_program({"git", "--git-dir=" + bare.string(), "config", "core.bigFileThreshold", "1m"});
    write(directory / "big", "");
    std::filesystem::resize_file(directory / "big", 300 << 20);
    const auto git = [&](std::vector<std::string> words) {
        words.insert(words.begin(), {"git", "--git-dir=" + bare.string()});
        const auto said = run_program(words);
        return said.substr(0, said.find('\n'));
    };
    const auto blob = git({"hash-object", "-w", (directory / "big").string()});
    git({"update-index", "--add", "--cacheinfo", "100644," + blob + ",big"});
    git({"update-ref", "refs/heads/main", git({"commit-tree", "-m", "Big", git({"write-tree"})})});

    write(directory / "git", "#!/bin/sh\nulimit -v 200000\nexec git \"$@\"\n", 0755);
    auto little = options();
    little.git_program = directory / "git";
    const auto work = work_in(directory);
    clone(request_for(url), work, little);
    CHECK(std::filesystem::file_size(work / "tree/big") == 300 << 20);
}

TEST_CASE("what git could not do for the host's sake is told apart") {
    const Directory directory;
    const auto url = make_repository(directory.path(), "agent", {});
    struct Case {
        const char* words;
        Code code;
        const char* told;
    };
    const auto& each =
        GENERATE(Case{"fatal: write error: No space left on device", Code::no_space, "no space is left in "},
                 Case{"error: unable to write file tree/a: Disk quota exceeded", Code::no_space,
                      "no space is left in "},
                 Case{"fatal: Out of memory, malloc failed (tried to allocate 314572801 bytes)", Code::failed,
                      "more than 1024 MiB of memory"});
    CAPTURE(each.words);
    write(directory / "git",
          std::string("#!/bin/sh\necho '") + each.words +
              "' >&2\necho 'fatal: fetch-pack: invalid index-pack output' >&2\nexit 128\n",
          0755);
    auto fake = options();
    fake.git_program = directory / "git";
    const auto work = work_in(directory);
    const Error error = error_of([&] { clone(request_for(url), work, fake); });
    CHECK(error.code() == each.code);
    CHECK(error.message().find(each.told) != std::string::npos);
}

TEST_CASE("a token reaches the server and is seen by nobody else") {
    const Directory directory;
    const auto work = work_in(directory);
    PrivateServer server;
    const SecretBytes token(std::string("canary-4711-token"));
    auto request = request_for(server.url());
    request.token = &token;
    EventFd cancel;
    std::string log;
    auto cloning = std::async(std::launch::async, [&] {
        return error_of([&] {
            clone_repository(request, work, options(), {no_deadline, cancel.fd()},
                             [&](std::string_view line) { log += line; });
        });
    });
    // base64 of "x-access-token:canary-4711-token"
    CHECK(server.authorization() == "Basic eC1hY2Nlc3MtdG9rZW46Y2FuYXJ5LTQ3MTEtdG9rZW4=");
    CHECK(processes_showing("canary-4711").empty());
    // Of this server alone: other tests may clone meanwhile.
    const std::string ours = "MINIONS_ORIGIN=" + server.url().substr(0, server.url().find('/', 8));
    CHECK_FALSE(processes_showing(ours).empty());  // the look works
    for (const auto& entry : std::filesystem::recursive_directory_iterator(work)) {
        if (entry.is_regular_file()) CHECK(read(entry.path()).find("canary-4711") == std::string::npos);
    }
    cancel.raise();
    const Error error = cloning.get();
    CHECK(error.code() == Code::cancelled);
    CHECK(log.find("canary-4711") == std::string::npos);
    // Git's children have been killed by now, and need a moment to be gone.
    const auto until = deadline_in(std::chrono::seconds(10));
    while (!processes_showing(ours).empty() && std::chrono::steady_clock::now() < until)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK(processes_showing(ours).empty());
}

TEST_CASE("without a token a private repository is told to be one") {
    const Directory directory;
    const auto work = work_in(directory);
    PrivateServer server;
    const Error error = error_of([&] { clone(request_for(server.url()), work); });
    CHECK(error.code() == Code::failed);
    CHECK(error.hint().find("auth_token") != std::string::npos);
}

TEST_CASE("arguments pin the address that was checked and end the options before the address") {
    auto request = request_for("https://example.com/x.git", "feature/y");
    request.addresses = {"203.0.113.7", "2001:db8::7"};
    const auto argv = git_arguments(request, options());
    const auto has = [&](const std::string& word) {
        return std::find(argv.begin(), argv.end(), word) != argv.end();
    };
    CHECK(has("http.curloptResolve=example.com:443:203.0.113.7,[2001:db8::7]"));
    CHECK(has("http.followRedirects=false"));
    CHECK(has("--branch=feature/y"));
    REQUIRE(argv.size() > 3);
    CHECK(argv[argv.size() - 3] == "--");
    CHECK(argv[argv.size() - 2] == "https://example.com/x.git");
}

TEST_CASE("ssh gets key and host keys from memory, and connects to the address that was checked") {
    const Directory directory;
    const auto work = work_in(directory);
    // Stands in for ssh: records what it was given. It closes inherited descriptors, as ssh does.
    write(directory / "ssh",
          "#!/bin/bash\nexec 3<&- 4<&- 5<&- 6<&-\nprintf '%s\\n' \"$@\" >\"$HOME/arguments\"\n"
          "for word; do case $word in\nIdentityFile=*) cat \"${word#*=}\" >\"$HOME/key\";;\n"
          "UserKnownHostsFile=*) cat \"${word#*=}\" >\"$HOME/hosts\";;\nesac; done\n"
          "env >\"$HOME/environment\"\necho 'Permission denied (publickey).' >&2\nexit 255\n",
          0755);
    auto with = options();
    with.ssh_program = directory / "ssh";
    const SecretBytes key(std::string("canary-key\n"));
    const SecretBytes hosts(std::string("the hosts\n"));
    auto request = request_for("ssh://git@git.example.com:2222/a;touch%20x/b.git");
    request.addresses = {"203.0.113.7"};
    request.key = &key;
    request.known_hosts = &hosts;
    const Error error = error_of([&] { clone(request, work, with); });
    CHECK(error.message().find("did not accept the key") != std::string::npos);
    CHECK(read(work / "key") == "canary-key\n");
    CHECK(read(work / "hosts") == "the hosts\n");
    const auto arguments = read(work / "arguments");
    for (const char* word :
         {"Hostname=203.0.113.7\n", "HostKeyAlias=[git.example.com]:2222\n", "StrictHostKeyChecking=yes\n",
          "BatchMode=yes\n", "IdentitiesOnly=yes\n", "-F\n/dev/null\n", "git@git.example.com\n"}) {
        CAPTURE(arguments, word);
        CHECK(arguments.find(word) != std::string::npos);
    }
    CHECK(arguments.find("canary") == std::string::npos);
    CHECK(read(work / "environment").find("canary") == std::string::npos);
}
