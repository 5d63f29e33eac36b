// A recurrence rule (RFC 5545) as simple controls have it, and back. What is more than these is kept as it was written.

export const DAYS = [["MO", "Mon"], ["TU", "Tue"], ["WE", "Wed"], ["TH", "Thu"], ["FR", "Fri"], ["SA", "Sat"], ["SU", "Sun"]];
const UNITS = ["DAILY", "WEEKLY", "MONTHLY"];
const KNOWN = new Set(["FREQ", "INTERVAL", "BYDAY", "BYMONTHDAY", "COUNT", "UNTIL"]);

// {unit, every, days, monthDay, count, until}; null for one that the controls cannot show.
export const parsed = (rule) => {
  const parts = Object.fromEntries(rule.trim().replace(/^RRULE:/, "").split(";").filter(Boolean).map((part) => part.split("=")));
  if (!UNITS.includes(parts.FREQ) || Object.keys(parts).some((name) => !KNOWN.has(name))) return null;
  const days = parts.BYDAY ? parts.BYDAY.split(",") : [];
  const isPlain = days.every((day) => DAYS.some(([name]) => name === day));
  if (!isPlain || (days.length && parts.FREQ !== "WEEKLY")) return null;
  if (parts.BYMONTHDAY && (parts.FREQ !== "MONTHLY" || !/^(-1|[1-9]|[12]\d|3[01])$/.test(parts.BYMONTHDAY))) return null;
  const until = parts.UNTIL?.match(/^(\d{4})(\d\d)(\d\d)/);
  return {
    unit: parts.FREQ, every: Number(parts.INTERVAL ?? 1), days, monthDay: parts.BYMONTHDAY ?? "",
    count: parts.COUNT ? Number(parts.COUNT) : null, until: until ? until.slice(1, 4).join("-") : "",
  };
};

export const written = ({ unit, every, days, monthDay, count, until }) => [
  `FREQ=${unit}`,
  every > 1 ? `INTERVAL=${every}` : "",
  unit === "WEEKLY" && days.length ? `BYDAY=${DAYS.map(([name]) => name).filter((name) => days.includes(name)).join(",")}` : "",
  unit === "MONTHLY" && monthDay ? `BYMONTHDAY=${monthDay}` : "",
  count ? `COUNT=${count}` : "",
  until && !count ? `UNTIL=${until.replaceAll("-", "")}T235959` : "",
].filter(Boolean).join(";");

// The weekday of "2026-11-25T09:00", as rules name it.
export const weekday = (local) => DAYS[(new Date(`${local.slice(0, 10)}T00:00Z`).getUTCDay() + 6) % 7]?.[0] ?? "MO";

export const spoken = (rule) => {
  const { unit, every, days, monthDay } = parsed(rule) ?? {};
  if (!unit) return "by your own rule";
  const thing = { DAILY: "day", WEEKLY: "week", MONTHLY: "month" }[unit];
  const often = every > 1 ? `every ${every} ${thing}s` : `every ${thing}`;
  const names = DAYS.filter(([name]) => days.includes(name)).map(([, words]) => words);
  if (unit === "WEEKLY" && names.length) return `${often} on ${names.join(", ")}`;
  if (unit === "MONTHLY" && monthDay) return `${often} on ${monthDay === "-1" ? "the last day" : `day ${monthDay}`}`;
  return often;
};
