// Which release brought which helpers: pairs of release and highest number it has. Numbers are only ever appended.

/** Release and the highest helper number in it, oldest first. */
export const FIRST_RELEASE: readonly (readonly [string, number])[] = [
  ["3.19", 3],
  ["4.1", 11],
  ["4.2", 16],
  ["4.3", 22],
  ["4.4", 25],
  ["4.5", 26],
  ["4.6", 30],
  ["4.8", 36],
  ["4.9", 41],
  ["4.10", 44],
  ["4.11", 45],
  ["4.12", 47],
  ["4.13", 50],
  ["4.14", 53],
  ["4.15", 57],
  ["4.16", 59],
  ["4.17", 64],
  ["4.18", 80],
  ["4.19", 83],
  ["4.20", 90],
  ["5.0", 92],
  ["5.1", 98],
  ["5.2", 108],
  ["5.3", 109],
];
