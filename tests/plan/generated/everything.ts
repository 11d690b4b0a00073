/* eslint-disable */
/**
 * Recording functions for the events of the plan everything.
 *
 * Made by `heliograph plan generate typescript` from version 3 of the plan everything, digest
 * 4fd6948e9acf7b40146eb121c48cb6c9eba420b56abf9a12eed902a120a663c2. Do not edit: change the plan,
 * and make it anew.
 *
 * A property that is left out, or undefined, is not sent. What the plan does not declare has no
 * place here.
 *
 * @packageDocumentation
 */

/** Takes each event when it happens, numbers it in its series, and sends or keeps it. */
export type Sink = (line: EventLine) => void;

declare const brand: unique symbol;

/** 128 random bits in hexadecimal. Whom they stand for, user or session, stays on the instance. */
export type RandomId = string & { readonly [brand]: "RandomId" };

/** The product's version: up to four numbers with dots between. */
export type Version = string & { readonly [brand]: "Version" };

/** Where an event came from. */
export type Source = "web" | "backend";

/** Who acted, where it was none of the customer's own people. */
export type Actor = "operator" | "service";

/** What every event can have beside its properties. */
export interface Envelope {
  /** When it happened: now when left out. */
  readonly time?: Date | undefined;
  readonly user_id?: RandomId | undefined;
  readonly session_id?: RandomId | undefined;
  readonly version?: Version | undefined;
  readonly source?: Source | undefined;
  readonly actor?: Actor | undefined;
}

type Line<Name, Event> = Event & { readonly name: Name; readonly time: Date };

/**
 * Returns a random id, once it is checked to be one.
 *
 * @throws RangeError if it is none.
 */
export function randomId(text: string): RandomId {
  if (!/^[0-9a-f]{32}$/.test(text)) {
    throw new RangeError("a random id is 32 hexadecimal digits in lower case");
  }
  return text as RandomId;
}

/**
 * Returns a product's version, once it is checked to be one.
 *
 * @throws RangeError if it is none.
 */
export function version(text: string): Version {
  if (!/^[0-9]{1,5}(\.[0-9]{1,5}){0,3}$/.test(text)) {
    throw new RangeError("a version is up to four numbers with dots between");
  }
  return text as Version;
}

/** Any event, as a sink is given it. */
export type EventLine =
  | Line<"SearchSubmitted", SearchSubmittedEvent>
  | Line<"SearchSubmittedTwice", SearchSubmittedTwiceEvent>
  | Line<"delete", DeleteEvent>
  | Line<"int", IntEvent>;

/** Returns the multiple of a precision that is nearest to a number. */
function toMultiple(value: number | undefined, precision: number): number | undefined {
  return value === undefined ? undefined : Math.round(value / precision) * precision;
}

/** Returns what is nearest to a number, of so many steps from one whole number to the next. */
function toStep(value: number | undefined, steps: number): number | undefined {
  return value === undefined ? undefined : Math.round(value * steps) / steps;
}

/** Returns the lower bound of the bucket that holds a number; below all of them, the number itself. */
function toBucket(value: number | undefined, bounds: readonly number[]): number | undefined {
  return value === undefined ? undefined : (bounds.filter((bound) => bound <= value).pop() ?? value);
}

/** A user submitted a search, and the search ended. What was typed stays with the user. */
export interface SearchSubmittedEvent extends Envelope {
  /**
   * How it ended, ok when left out, null for no outcome. ok: It found something. no_results: It
   * ended, and found nothing. timed_out: It was stopped by its time limit.
   */
  readonly outcome?: "ok" | "no_results" | "timed_out" | null | undefined;
  /** How the text of the query was understood. One of literal, regexp, structural. */
  readonly pattern_type?: "literal" | "regexp" | "structural" | undefined;
  /**
   * The language that the search was limited to. One of c, c++, c-sharp, go, haskell, java,
   * javascript, kotlin, python, ruby, rust, scala, swift, typescript.
   */
  readonly language?:
    | "c"
    | "c++"
    | "c-sharp"
    | "go"
    | "haskell"
    | "java"
    | "javascript"
    | "kotlin"
    | "python"
    | "ruby"
    | "rust"
    | "scala"
    | "swift"
    | "typescript"
    | undefined;
  /** Results found. Whole number, -10 to 100,000, to the nearest 10. */
  readonly result_count?: number | undefined;
  /** Share of the repositories that was searched. Number, 0.0 to 1.0, to the nearest 0.01. */
  readonly share?: number | undefined;
  /** Time spent waiting for each second of work. Number, -0.5 to 1,000.0. */
  readonly ratio?: number | undefined;
  /** From submission to the last result. Milliseconds, 0 to 600,000, to the nearest 10. */
  readonly duration_ms?: number | undefined;
  /** Filters in the query; never which. Count, in buckets from 0, 1, 2, 5, 10, 100. */
  readonly filter_count?: number | undefined;
  /** Whether upper and lower case were told apart. True or false. */
  readonly case_sensitive?: boolean | undefined;
}

/**
 * A user submitted a search, and the search ended. What was typed stays with the user.
 *
 * Feature: search. Owner: search-platform. It is a core action. Earlier names: SearchStarted.
 */
export function searchSubmitted(sink: Sink, event: SearchSubmittedEvent = {}): void {
  sink({
    name: "SearchSubmitted",
    time: event.time ?? new Date(),
    user_id: event.user_id,
    session_id: event.session_id,
    version: event.version,
    source: event.source,
    actor: event.actor,
    outcome: event.outcome === undefined ? "ok" : event.outcome,
    pattern_type: event.pattern_type,
    language: event.language,
    result_count: toMultiple(event.result_count, 10),
    share: toStep(event.share, 100),
    ratio: event.ratio,
    duration_ms: toMultiple(event.duration_ms, 10),
    filter_count: toBucket(event.filter_count, [0, 1, 2, 5, 10, 100]),
    case_sensitive: event.case_sensitive,
  });
}

/**
 * """Submitted""" twice: *\/ ends a comment in C:\\new, --\> and ]]\> in XML, \</script\> in HTML,
 * ;; in LookML, \{\{ liquid \}\} and \@\{constant\}; `ticks`, *stars*, _lines_, \<b\>tags\</b\> and
 * | bars.
 */
export interface SearchSubmittedTwiceEvent extends Envelope {
  /**
   * How it ended, null for no outcome. succeeded: # It worked, and this is no heading. failed: 1.
   * It did not, and this is no list.
   */
  readonly outcome: "succeeded" | "failed" | null;
  /** A keyword of many languages. One of import, default. */
  readonly class?: "import" | "default" | undefined;
  /** Another, and a count. Whole number, 0 to 10. */
  readonly lambda?: number | undefined;
  /** A name that Python knows. True or false. */
  readonly str?: boolean | undefined;
  /** A name that JavaScript knows. True or false. */
  readonly constructor: boolean | undefined;
}

/**
 * """Submitted""" twice: *\/ ends a comment in C:\\new, --\> and ]]\> in XML, \</script\> in HTML,
 * ;; in LookML, \{\{ liquid \}\} and \@\{constant\}; `ticks`, *stars*, _lines_, \<b\>tags\</b\> and
 * | bars.
 *
 * Feature: search. Owner: search-platform.
 *
 * @deprecated Since 2026-11-01. "SearchSubmitted" says as much. Use SearchSubmitted.
 */
export function searchSubmittedTwice(sink: Sink, event: SearchSubmittedTwiceEvent): void {
  sink({
    name: "SearchSubmittedTwice",
    time: event.time ?? new Date(),
    user_id: event.user_id,
    session_id: event.session_id,
    version: event.version,
    source: event.source,
    actor: event.actor,
    outcome: event.outcome,
    class: event.class,
    lambda: event.lambda,
    str: event.str,
    constructor: Object.prototype.hasOwnProperty.call(event, "constructor") ? event.constructor : undefined,
  });
}

/** A user deleted a page. */
export interface DeleteEvent extends Envelope {
  /** How it ended, ok when left out, null for no outcome. ok: It worked. */
  readonly outcome?: "ok" | null | undefined;
}

/**
 * A user deleted a page.
 *
 * Feature: pages. Owner: pages.
 */
export function delete_(sink: Sink, event: DeleteEvent = {}): void {
  sink({
    name: "delete",
    time: event.time ?? new Date(),
    user_id: event.user_id,
    session_id: event.session_id,
    version: event.version,
    source: event.source,
    actor: event.actor,
    outcome: event.outcome === undefined ? "ok" : event.outcome,
  });
}

/** A user looked at a page, and the event has a name that Python knows. */
export interface IntEvent extends Envelope {
  /** How it ended, ok when left out, null for no outcome. ok: It worked. */
  readonly outcome?: "ok" | null | undefined;
  /** The language of the page. One of en, fr. */
  readonly language?: "en" | "fr" | undefined;
}

/**
 * A user looked at a page, and the event has a name that Python knows.
 *
 * Feature: pages. Owner: pages. It does not make its user active.
 */
export function int(sink: Sink, event: IntEvent = {}): void {
  sink({
    name: "int",
    time: event.time ?? new Date(),
    user_id: event.user_id,
    session_id: event.session_id,
    version: event.version,
    source: event.source,
    actor: event.actor,
    outcome: event.outcome === undefined ? "ok" : event.outcome,
    language: event.language,
  });
}
