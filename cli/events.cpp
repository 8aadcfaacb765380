#include "cli/commands.hpp"
#include "cli/output.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <ostream>

namespace minions::cli {
namespace {

struct Options {
    std::optional<std::uint64_t> after;
    std::uint64_t count = 0;
};

/// Puts the data lines of server-sent events together; other fields repeat what is in the data.
class EventReader {
  public:
    explicit EventReader(std::function<void(const Value&)> take) : take_(std::move(take)) {}

    void feed(std::string_view piece) {
        buffer_ += piece;
        for (auto end = buffer_.find('\n'); end != std::string::npos; end = buffer_.find('\n')) {
            auto line = buffer_.substr(0, end);
            buffer_.erase(0, end + 1);
            if (line.ends_with('\r')) line.pop_back();
            if (line.starts_with("data:")) {
                if (!data_.empty()) data_ += '\n';
                data_ += line.substr(line.starts_with("data: ") ? 6 : 5);
            } else if (line.empty() && !data_.empty()) {
                take_(parse_json(data_));
                data_.clear();
            }
        }
    }

  private:
    std::function<void(const Value&)> take_;
    std::string buffer_;
    std::string data_;
};

void print_event(Session& session, const Value& event) {
    auto& out = session.console.out;
    if (session.json) {
        out << to_json(event) << '\n';
    } else {
        out << fmt::format("{} {} {} {}", shown(event["time"]), shown(event["id"]), shown(event["type"]),
                           shown(event["subject"]));
        const auto* data = event["data"].if_object();
        if (data != nullptr && !data->empty()) out << ' ' << shown(event["data"]);
        out << '\n';
    }
    out << std::flush;
}

int events(Session& session, const Options& options) {
    std::string target = "/api/events";
    if (options.after) target += fmt::format("?after={}", *options.after);
    std::uint64_t seen = 0;
    const auto enough = [&] { return options.count != 0 && seen >= options.count; };
    EventReader reader([&](const Value& event) {
        if (enough()) return;
        print_event(session, event);
        ++seen;
    });
    session.stream({"GET", target}, [&](std::string_view piece) {
        reader.feed(piece);
        return !enough() && session.console.out.good();
    });
    if (!enough() && session.console.out.good()) {
        throw Error(Code::unavailable, "the daemon ended the event stream",
                    "it is stopping or restarting; 'minions events --after ID' goes on where this ended");
    }
    return exit_ok;
}

}  // namespace

void add_events(CLI::App& program, Session& session) {
    auto* command =
        program.add_subcommand("events",
                               "Prints what happens, as it happens.\n\n"
                               "Each line is time, id, type, subject and details; with --json one object.\n\n"
                               "Examples:\n"
                               "  minions events\n"
                               "  minions events --after 0 --count 20\n"
                               "  minions --json events | jq .type");
    const auto options = std::make_shared<Options>();
    command->add_option("--after", options->after,
                        "Begin after the event with this id; 0 replays all that is kept.");
    command->add_option("-n,--count", options->count, "Stop after so many.");
    command->callback(
        [&session, options] { session.run = [&session, options] { return events(session, *options); }; });
}

}  // namespace minions::cli
