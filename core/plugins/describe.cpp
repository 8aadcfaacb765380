#include "core/plugins/describe.hpp"

#include "core/plugins/library.hpp"

#include <minions/base/spawn.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

namespace minions::core {
namespace {

constexpr std::size_t most_output = std::size_t{1} << 20;

/// The end of what a child said before it died, on one line.
std::string last_words(const std::string& output) {
    const auto end = output.find_last_not_of("\n ");
    if (end == std::string::npos) return {};
    const auto start = output.find_last_of('\n', end);
    return fmt::format(" (it said: {})", output.substr(start == std::string::npos ? 0 : start + 1,
                                                       std::min<std::size_t>(200, end - start)));
}

Value describe(const char* path) {
    try {
        return Value::object({{"description", encode(read_description(load_plugin(path)))}});
    } catch (const Refusal& refusal) {
        return Value::object({{"refusal", encode(refusal)}});
    } catch (...) {
        return Value::object({{"refusal", encode(refusal_of("malformed", current_error()))}});
    }
}

PluginDescription read_answer(const RunResult& result) {
    Value answer;
    try {
        answer = parse_json(result.out);
    } catch (const Error&) {
        throw Refusal{"exited",
                      fmt::format("it ended the process that loaded it{}; a plugin must not exit, report it "
                                  "to its author",
                                  last_words(result.err))};
    }
    if (answer["refusal"].if_object() != nullptr) throw decode<Refusal>(answer["refusal"], Unknown::ignore);
    return decode<PluginDescription>(answer["description"], Unknown::ignore);
}

}  // namespace

int plugin_describe_main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "plugin-describe: name a plugin\n");
        return 2;
    }
    // The answer has the real standard output to itself.
    const Fd out(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
    const std::string text = to_json(describe(argv[1])) + "\n";
    try {
        write_all(out.get(), text.data(), text.size());
    } catch (const std::exception&) {
        return 1;
    }
    // Without destructors and exit handlers: the plugin may have brought some.
    std::fflush(nullptr);
    ::_exit(0);
}

PluginDescription describe_in_child(const std::string& program, const std::vector<std::string>& arguments,
                                    const std::string& plugin, std::chrono::milliseconds timeout) {
    SpawnOptions options;
    options.argv = {program};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    options.argv.push_back(plugin);
    for (char** entry = environ; *entry != nullptr; ++entry) options.env.emplace_back(*entry);
    RunResult result;
    try {
        result = run(std::move(options), RunLimits{deadline_in(timeout), most_output, -1});
    } catch (const std::exception& error) {
        throw Refusal{"load_failed",
                      fmt::format("no process could be started to look at it: {}; free memory or "
                                  "raise the limit of processes",
                                  error.what())};
    }
    if (result.end == RunEnd::deadline) {
        throw Refusal{"hung",
                      fmt::format("it did not finish loading within {} ms; report it to its author, or raise "
                                  "plugins.describe_timeout_seconds",
                                  timeout.count())};
    }
    if (result.status.signal != 0) {
        throw Refusal{"crashed", fmt::format("it crashed while it was loaded: {}{}; report it to its author",
                                             result.status.to_string(), last_words(result.err))};
    }
    return read_answer(result);
}

}  // namespace minions::core
