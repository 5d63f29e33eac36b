// Which variant and language is looked at. Event "change".
export class View extends EventTarget {
  variant = 0;
  locale = ""; // "": what all others get

  show(changes) {
    Object.assign(this, changes);
    this.dispatchEvent(new Event("change"));
  }
}
