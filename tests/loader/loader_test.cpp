#include "core/plugins/loader.hpp"

#include <minions/base/deadline.hpp>

#include <catch2/catch.hpp>
#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace minions;
using namespace minions::core;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

/// What plugins said, each as "RUNTIME event INSTANCE" or "RUNTIME health".
struct Heard : PluginSink {
    void on_log(std::string_view, LogLevel, std::string_view) override {}
    void on_event(const RuntimeHandle& runtime, const InstanceEvent& event) override {
        lines.lock()->push_back(runtime.name + " event " + event.instance);
    }
    void on_health_changed(const RuntimeHandle& runtime) override {
        lines.lock()->push_back(runtime.name + " health");
    }
    Sync<std::vector<std::string>> lines;
};

/// A directory of plugins, and a loader for it.
class Plugins {
  public:
    Plugins() {
        char path[] = "/tmp/minions-loader-XXXXXX";
        root_ = ::mkdtemp(path);
        fs::create_directory(dir());
        options.directories = {dir()};
        options.state_dir = root_ / "state";
        options.run_dir = root_ / "run";
        options.describe_timeout = std::chrono::seconds(20);
        add_as("null", MINIONS_NULL_SO);  // there is always one that works
    }
    Plugins(const Plugins&) = delete;
    Plugins& operator=(const Plugins&) = delete;
    ~Plugins() { fs::remove_all(root_); }

    fs::path dir() const { return root_ / "plugins"; }
    fs::path root() const { return root_; }
    fs::path path(const std::string& name) const { return dir() / (name + ".so"); }

    fs::path add_as(const std::string& name, const fs::path& from) {
        fs::copy_file(from, path(name));
        fs::permissions(path(name), fs::perms(0755));
        return path(name);
    }
    fs::path add(const std::string& name) { return add_as(name, fs::path(MINIONS_BAD_DIR) / (name + ".so")); }

    PluginLoader& load() {
        loader_ = std::make_unique<PluginLoader>(options, heard);
        return *loader_;
    }
    /// The entry of the list for that file.
    Value entry(const std::string& name) {
        const Value list = loader_->list();
        for (const auto& item : *list.if_array()) {
            if (item["path"] == Value(path(name).string())) return item;
        }
        throw std::runtime_error(name + " is not listed");
    }
    /// That file is listed as refused with that code and those words, and the good plugin is loaded.
    void check_refused(const std::string& name, const std::string& code, const std::string& words) {
        INFO(name);
        const auto item = entry(name);
        CHECK(item["state"] == Value("refused"));
        CHECK(item["code"].string_or("") == code);
        CHECK_THAT(item["reason"].string_or(""), Contains(words));
        CHECK_THAT(item["reason"].string_or(""), Contains("; "));  // the cure stands behind it
        CHECK(loader_->find("null") != nullptr);
    }

    LoaderOptions options;
    Heard heard;

  private:
    fs::path root_;
    std::unique_ptr<PluginLoader> loader_;
};

/// The ELF header of a program for another machine, with nothing behind it.
std::string foreign_elf() {
    Elf64_Ehdr header{};
    std::copy_n(ELFMAG, SELFMAG, header.e_ident);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_DYN;
    header.e_machine = EM_S390;
    return {reinterpret_cast<const char*>(&header), sizeof header};
}

}  // namespace

TEST_CASE("a plugin that others could have written is refused", "[file]") {
    Plugins plugins;
    fs::permissions(plugins.add("fine"), fs::perms(0757));
    fs::permissions(plugins.add("prints"), fs::perms(0775));
    plugins.load();
    plugins.check_refused("fine", "insecure", "chmod go-w");
    plugins.check_refused("prints", "insecure", "chmod go-w");
}

TEST_CASE("a directory that others can write to is refused with all in it", "[file]") {
    Plugins plugins;
    fs::create_directory(plugins.root() / "open");
    fs::copy_file(fs::path(MINIONS_BAD_DIR) / "fine.so", plugins.root() / "open" / "fine.so");
    fs::permissions(plugins.root() / "open" / "fine.so", fs::perms(0755));
    fs::permissions(plugins.root() / "open", fs::perms(0777));
    fs::create_symlink(plugins.root() / "open" / "fine.so", plugins.path("link"));
    plugins.load();
    plugins.check_refused("link", "insecure", "/open can be written to");
}

TEST_CASE("so is a directory of links that others can write to, whatever the links lead to", "[file]") {
    Plugins plugins;
    const auto open = plugins.root() / "open";
    fs::create_directory(open);
    fs::create_symlink(plugins.add("fine"), open / "link.so");
    fs::permissions(open, fs::perms(0777));
    plugins.options.directories = {open};
    auto& loader = plugins.load();
    CHECK(loader.all().empty());
    CHECK_THAT(loader.list().if_array()->front()["reason"].string_or(""),
               Contains("/open can be written to"));
}

TEST_CASE("so is all below a directory in which others can rename", "[file]") {
    Plugins plugins;
    const auto open = plugins.root() / "open";
    fs::create_directories(open / "own");
    fs::copy_file(fs::path(MINIONS_BAD_DIR) / "fine.so", open / "own" / "fine.so");
    fs::permissions(open / "own" / "fine.so", fs::perms(0755));
    fs::permissions(open / "own", fs::perms(0755));
    plugins.options.directories = {open / "own"};
    const auto loaded = [&](unsigned mode) {
        fs::permissions(open, fs::perms(mode));
        return plugins.load().all().size();
    };
    CHECK(loaded(0777) == 0);
    CHECK(loaded(01777) == 1);  // sticky, as /tmp: others cannot rename what is not theirs
    CHECK(loaded(0775) == 1);   // the group is this process's own
    if (::geteuid() != 0) return;
    REQUIRE(::chown(open.c_str(), 0, 12345) == 0);
    CHECK(loaded(0775) == 0);
}

TEST_CASE("a link that is led elsewhere after the check changes nothing", "[swapped]") {
    Plugins plugins;
    const auto away = plugins.root() / "away";
    fs::create_directory(away);
    for (const auto* name : {"fine.so", "no-entry.so"}) {
        fs::copy_file(fs::path(MINIONS_BAD_DIR) / name, away / name);
        fs::permissions(away / name, fs::perms(0755));
    }
    fs::create_symlink(away / "fine.so", plugins.path("link"));
    plugins.options.configure = [&](const PluginDescription& plugin) {
        if (plugin.name == "fine") {
            fs::remove(plugins.path("link"));
            fs::create_symlink(away / "no-entry.so", plugins.path("link"));
        }
        return Value::object();
    };
    plugins.load();
    CHECK(plugins.entry("link")["state"] == Value("loaded"));
}

TEST_CASE("a plugin of a foreign owner is refused", "[file]") {
    if (::geteuid() != 0) return;  // only root can give files away
    Plugins plugins;
    REQUIRE(::chown(plugins.add("fine").c_str(), 12345, 12345) == 0);
    plugins.load();
    plugins.check_refused("fine", "insecure", "belongs to user 12345");
}

TEST_CASE("what is not a shared object of this machine is refused", "[elf]") {
    Plugins plugins;
    std::ofstream(plugins.path("text"))
        << "just text, longer than an ELF header would have to be, so that it is read";
    std::ofstream(plugins.path("empty")) << "";
    std::ofstream(plugins.path("foreign")) << foreign_elf();
    fs::create_directory(plugins.path("directory"));
    plugins.load();
    plugins.check_refused("text", "not_elf", "install the plugin again");
    plugins.check_refused("empty", "not_elf", "install the plugin again");
    plugins.check_refused("foreign", "wrong_machine", "for this architecture");
    plugins.check_refused("directory", "not_elf", "no regular file");
}

TEST_CASE("a descriptor that makes no sense is refused", "[descriptor]") {
    Plugins plugins;
    for (const auto* name :
         {"wrong-abi", "magic", "short", "null-name", "odd-name", "null-call", "null-entry", "new-facet"}) {
        plugins.add(name);
    }
    plugins.load();
    plugins.check_refused("wrong-abi", "abi_mismatch", "build it against this version's SDK");
    plugins.check_refused("magic", "malformed", "magic number");
    plugins.check_refused("short", "malformed", "it has 8 bytes instead of");
    plugins.check_refused("null-name", "malformed", "'name' is null");
    plugins.check_refused("odd-name", "malformed", "'../etc' is no name of a runtime");
    plugins.check_refused("null-call", "malformed", "'open' or 'call' is null");
    plugins.check_refused("null-entry", "malformed", "the entry function returned null");
    CHECK(plugins.entry("new-facet")["state"] == Value("loaded"));  // a plugin may know more than we do
}

TEST_CASE("a plugin that misbehaves while it is loaded harms only itself", "[load]") {
    Plugins plugins;
    for (const auto* name : {"no-entry", "undefined", "crashes", "exits", "prints", "entry-crashes"}) {
        plugins.add(name);
    }
    plugins.load();
    plugins.check_refused("entry-crashes", "crashed", "killed by signal 6");
    plugins.check_refused("no-entry", "no_entry", "minions_plugin_entry");
    plugins.check_refused("undefined", "load_failed", "undefined symbol: nobody_defines_this");
    plugins.check_refused("crashes", "crashed", "killed by signal 6");
    plugins.check_refused("exits", "exited", "must not exit");
    CHECK(plugins.entry("prints")["state"] == Value("loaded"));
}

TEST_CASE("a plugin that hangs while it is loaded is refused after the time for it", "[load]") {
    Plugins plugins;
    plugins.options.describe_timeout = std::chrono::milliseconds(1500);
    plugins.add("hangs");
    plugins.load();
    plugins.check_refused("hangs", "hung", "within 1500 ms");
}

TEST_CASE("of two plugins for one runtime the first counts", "[names]") {
    Plugins plugins;
    plugins.add_as("zzz", MINIONS_NULL_SO);
    auto& loader = plugins.load();
    plugins.check_refused("zzz", "duplicate", "null.so provides the runtime 'null' already");
    CHECK(loader.all().size() == 1);
}

TEST_CASE("only enabled runtimes are loaded", "[names]") {
    Plugins plugins;
    plugins.add("fine");
    plugins.options.enabled = {"null"};
    auto& loader = plugins.load();
    plugins.check_refused("fine", "not_enabled", "plugins.enabled");
    CHECK(loader.warnings().empty());
}

TEST_CASE("a bad configuration refuses the plugin that it is for", "[config]") {
    Plugins plugins;
    plugins.add("fine");
    plugins.options.configure = [](const PluginDescription& plugin) -> Value {
        if (plugin.name == "fine") throw Error(Code::invalid, "minions.conf:3: runtimes.fine.x is unknown");
        CHECK(plugin.config_keys.size() == 6);
        return Value::object();
    };
    plugins.load();
    plugins.check_refused("fine", "bad_config", "minions.conf:3");
}

TEST_CASE("a constructor that throws refuses its plugin", "[start]") {
    Plugins plugins;
    plugins.add("fine");
    plugins.options.configure = [](const PluginDescription& plugin) {
        return plugin.name == "null" ? Value::object({{"fail", Value::array({"open"})}}) : Value::object();
    };
    auto& loader = plugins.load();
    const auto item = plugins.entry("null");
    CHECK(item["code"] == Value("open_failed"));
    CHECK_THAT(item["reason"].string_or(""),
               Contains("configured to fail") && Contains("; correct what it says"));
    CHECK(item["version"] == Value("1.0"));  // what is known of it stays listed
    CHECK(loader.find("null") == nullptr);
    CHECK(loader.find("fine") != nullptr);
    REQUIRE(loader.warnings().size() == 1);
}

TEST_CASE("a constructor that crashes, exits or answers nonsense harms only its plugin", "[open]") {
    Plugins plugins;
    for (const auto* name : {"open-crashes", "open-exits", "open-garbles"}) plugins.add(name);
    const bool isolated = GENERATE(false, true);
    if (isolated) plugins.options.isolated = {"open-crashes", "open-exits", "open-garbles"};
    plugins.load();
    plugins.check_refused("open-crashes", "crashed", "killed by signal 6");
    plugins.check_refused("open-exits", "crashed", "exit status 0");
    plugins.check_refused("open-garbles", "open_failed", "cannot be read");
}

TEST_CASE("a constructor that hangs refuses its plugin after the time for it", "[open]") {
    Plugins plugins;
    plugins.options.open_timeout = std::chrono::milliseconds(1500);
    plugins.add("open-hangs");
    plugins.load();
    plugins.check_refused("open-hangs", "hung", "did not return in time");
}

TEST_CASE("what a constructor says is heard once, from the object that stays", "[open]") {
    Plugins plugins;
    plugins.add("open-talks");
    plugins.load();
    CHECK(plugins.entry("open-talks")["state"] == Value("loaded"));
    CHECK(*plugins.heard.lines.lock() == std::vector<std::string>{"open-talks event i", "open-talks health"});
}

TEST_CASE("who needs a refused runtime is told why it was refused", "[required]") {
    Plugins plugins;
    plugins.add("crashes");
    plugins.options.enabled = {"crashes"};
    auto& loader = plugins.load();
    CHECK_THROWS_WITH(loader.require("crashes"), Contains("killed by signal 6"));
    CHECK_THROWS_WITH(loader.require("null"), Contains("plugins.enabled does not name 'null'"));
    CHECK_THROWS_WITH(loader.default_runtime(), Contains("killed by signal 6"));
    try {
        loader.require("crashes");
    } catch (const Error& error) {
        CHECK(error.code() == Code::unavailable);
    }
}

TEST_CASE("a required runtime that is missing or refused stops the start", "[required]") {
    Plugins plugins;
    plugins.add("crashes");
    plugins.options.required = {"null"};
    CHECK_NOTHROW(plugins.load());
    plugins.options.required = {"nosuch"};
    CHECK_THROWS_WITH(plugins.load(), Contains("'nosuch' was not found") && Contains("--plugin-dir"));
    plugins.options.required = {"crashes"};
    CHECK_THROWS_WITH(plugins.load(), Contains("'crashes'") && Contains("killed by signal 6"));
}

TEST_CASE("health, defaults and names of runtimes", "[required]") {
    Plugins plugins;
    auto& loader = plugins.load();
    CHECK_THROWS_WITH(loader.default_runtime(), Contains("has not been asked yet"));
    loader.refresh();
    CHECK(loader.default_runtime().name == "null");
    CHECK(loader.require("null").exec != nullptr);
    CHECK_THROWS_WITH(loader.require("docer"), Contains("no runtime 'docer'") && Contains("null"));
    const auto item = plugins.entry("null");
    CHECK(item["state"] == Value("loaded"));
    CHECK(item["health"]["healthy"] == Value(true));
    CHECK(item["kind"] == Value("container"));
    CHECK(item["features"].if_array()->size() == 2);
    struct stat state {};
    REQUIRE(::stat((plugins.root() / "state/runtimes/null").c_str(), &state) == 0);
    CHECK((state.st_mode & 0777U) == 0700U);
}

TEST_CASE("an isolated runtime works in a process of its own", "[isolated]") {
    Plugins plugins;
    plugins.options.isolated = {"null"};
    auto& loader = plugins.load();
    loader.refresh();
    CHECK(loader.require("null").name == "null");
    std::string pid;
    for (const auto& task : fs::directory_iterator("/proc/self/task")) {
        std::string here;
        std::ifstream(task.path() / "children") >> here;
        if (!here.empty()) pid = here;
    }
    REQUIRE(!pid.empty());
    std::ifstream maps("/proc/" + pid + "/maps");
    const std::string text((std::istreambuf_iterator<char>(maps)), {});
    CHECK_THAT(text, Contains("plugins/null.so"));
}

TEST_CASE("a plugin that is replaced between check and load is refused", "[swapped]") {
    Plugins plugins;
    plugins.add("fine");
    plugins.options.configure = [&](const PluginDescription& plugin) {
        if (plugin.name == "fine") {
            fs::copy_file(MINIONS_NULL_SO, plugins.root() / "new");
            fs::rename(plugins.root() / "new", plugins.path("fine"));
        }
        return Value::object();
    };
    plugins.load();
    plugins.check_refused("fine", "changed", "restart the daemon");
}
