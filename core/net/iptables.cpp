#include "core/net/iptables.hpp"

#include <minions/base/spawn.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <system_error>

namespace minions::core {
namespace {

constexpr std::chrono::seconds patience{20};
constexpr const char* docker_chain = "DOCKER-USER";

/// nullopt where there is no such program.
std::optional<RunResult> run_iptables(const std::vector<std::string>& arguments) {
    SpawnOptions options;
    options.argv = {"iptables", "-w", "10"};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    options.env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"};
    RunLimits limits;
    limits.deadline = deadline_in(patience);
    try {
        return run(std::move(options), limits);
    } catch (const std::system_error& error) {
        if (error.code().value() == ENOENT) return std::nullopt;
        throw error_from_errno(error.code().value(), "cannot run iptables");
    }
}

void must_succeed(const std::vector<std::string>& arguments) {
    const auto result = run_iptables(arguments);
    if (result && result->success()) return;
    throw Error{Code::failed, fmt::format("iptables {}: {}", fmt::join(arguments, " "),
                                          result ? result->err : "there is no such program")};
}

/// A line of `iptables -S`: words, the comment in double quotes where it has spaces.
std::vector<std::string> words_of(const std::string& line) {
    std::vector<std::string> words;
    bool quoted = false;
    bool begun = false;
    for (const char each : line) {
        if (each == '"') {
            quoted = !quoted;
        } else if (each == ' ' && !quoted) {
            begun = false;
            continue;
        } else {
            if (!begun) words.emplace_back();
            begun = true;
            words.back() += each;
        }
    }
    return words;
}

bool has_line(const std::string& text, const std::string& wanted) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);)
        if (line == wanted) return true;
    return false;
}

}  // namespace

std::string Iptables::needed_chain() const {
    const auto result = run_iptables({"-S"});
    if (!result) return {};
    if (!result->success()) throw Error{Code::failed, fmt::format("iptables -S: {}", result->err)};
    if (has_line(result->out, fmt::format("-N {}", docker_chain))) return docker_chain;
    if (has_line(result->out, "-P FORWARD DROP")) return "FORWARD";
    return {};
}

std::vector<Iptables::Rule> Iptables::wanted(const std::string& chain) const {
    const std::string& bridge = options_.bridge;
    std::vector<Rule> rules;
    // In a form that `iptables -S` repeats.
    const auto add = [&](Rule match, const char* target) {
        match.insert(match.end(), {"-m", "comment", "--comment", options_.mark, "-j", target});
        rules.push_back(std::move(match));
    };
    add({"-i", bridge, "!", "-o", bridge}, "ACCEPT");
    add({"-o", bridge, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED,DNAT"}, "ACCEPT");
    if (!options_.isolate) add({"-i", bridge, "-o", bridge}, "ACCEPT");
    // Which of its containers others may reach is Docker's to say: those behind its bridges have published
    // ports.
    if (chain == docker_chain)
        for (const char* other : {"docker0", "br-+"}) add({"-i", bridge, "-o", other}, "RETURN");
    return rules;
}

std::vector<Iptables::Rule> Iptables::ours(const std::string& chain) const {
    std::vector<Rule> rules;
    const auto result = run_iptables({"-S", chain});
    if (!result || !result->success()) return rules;
    std::istringstream lines(result->out);
    for (std::string line; std::getline(lines, line);) {
        Rule words = words_of(line);
        const auto comment = std::find(words.begin(), words.end(), "--comment");
        if (words.size() > 2 && words[0] == "-A" && comment != words.end() && comment + 1 != words.end() &&
            comment[1] == options_.mark)
            rules.emplace_back(words.begin() + 2, words.end());
    }
    return rules;
}

void Iptables::set(const std::string& chain) const {
    const auto rules = wanted(chain);
    const auto there = ours(chain);
    const bool complete =
        there.size() == rules.size() && std::all_of(rules.begin(), rules.end(), [&](const Rule& rule) {
            std::vector<std::string> check{"-C", chain};
            check.insert(check.end(), rule.begin(), rule.end());
            const auto result = run_iptables(check);
            return result && result->success();
        });
    if (complete) return;
    remove(chain);
    // Each before the one that was put in before it, and all before those of others.
    for (const Rule& rule : rules) {
        std::vector<std::string> insert{"-I", chain};
        insert.insert(insert.end(), rule.begin(), rule.end());
        must_succeed(insert);
    }
}

void Iptables::remove(const std::string& chain) const {
    for (const Rule& rule : ours(chain)) {
        std::vector<std::string> command{"-D", chain};
        command.insert(command.end(), rule.begin(), rule.end());
        must_succeed(command);
    }
}

}  // namespace minions::core
