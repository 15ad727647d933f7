// One table for every list: sorting and searching in the browser, figures to the right, each row a card where the
// screen is narrow. All text is set as text; nothing that comes from outside is ever read as markup.
export default {
  template: `
    <div class="tbl">
      <div class="tbl-tools" v-if="searchable && rows.length > 8">
        <input class="tbl-search" type="search" :placeholder="'Filter ' + rows.length + ' rows'"
               :aria-label="'Filter ' + label" v-model="query">
      </div>
      <div class="tbl-scroll" v-if="rows.length" tabindex="0" role="region" :aria-label="label">
        <table :aria-label="label">
          <thead><tr>
            <th v-for="c in columns" :key="c.key" :class="{num: c.right}" scope="col"
                :aria-sort="order.key === c.key ? (order.down ? 'descending' : 'ascending') : 'none'">
              <button type="button" @click="sortBy(c.key)">
                <span>{{ c.label }}</span><span class="unit" v-if="c.unit">{{ c.unit }}</span>
                <span class="arrow" aria-hidden="true">{{ order.key === c.key ? (order.down ? '▾' : '▴') : '' }}</span>
              </button>
            </th>
            <th v-if="acting" class="act" scope="col"><span class="sr">Actions</span></th>
          </tr></thead>
          <tbody>
            <tr v-for="r in shown" :key="r.key" :class="{link: r.to}"
                @click="r.to && go(r.to, $event)">
              <td v-for="(c, i) in columns" :key="c.key" :class="[{num: c.right, wide: c.wide, blank: !cell(r, c).t && !cell(r, c).s}, 'k-' + (cell(r, c).k || '')]"
                  :data-label="c.label + (c.unit ? ' (' + c.unit + ')' : '')">
                <span class="cell">
                  <a v-if="cell(r, c).h || (i === 0 && r.to)" :href="cell(r, c).h || r.to">{{ cell(r, c).t }}</a>
                  <span v-else-if="cell(r, c).c" class="chip" :class="'k-' + (cell(r, c).k || '')">{{ cell(r, c).t }}</span>
                  <span v-else>{{ cell(r, c).t }}</span>
                  <small v-if="cell(r, c).s">{{ cell(r, c).s }}</small>
                  <span v-if="cell(r, c).b !== undefined" class="meter" :class="'k-' + (cell(r, c).k || '')">
                    <i :style="{width: Math.min(100, Math.max(0, cell(r, c).b * 100)) + '%'}"></i></span>
                </span>
              </td>
              <td v-if="acting" class="act">
                <button v-for="a in r.actions || []" :key="a.name" type="button" class="btn small"
                        @click.stop="$emit('act', {name: a.name, key: r.key})">{{ a.label }}</button>
              </td>
            </tr>
          </tbody>
        </table>
        <p class="tbl-none" v-if="!shown.length">Nothing matches the filter.</p>
      </div>
      <div class="empty" v-else><strong>{{ empty }}</strong><span v-if="hint">{{ hint }}</span></div>
      <button type="button" class="btn ghost more" v-if="matching.length > shown.length" @click="limit += 200">
        Show more ({{ matching.length - shown.length }} left)</button>
    </div>
  `,
  props: {
    columns: Array, rows: Array, label: String, empty: String, hint: String, sort: String, searchable: Boolean, few: Boolean,
  },
  data() {
    const down = (this.sort || "").startsWith("-");
    // A card per row is long: a phone begins with few of them.
    const limit = this.few || window.innerWidth <= 640 ? 12 : 30;
    return { query: "", limit, order: { key: (this.sort || "").replace("-", ""), down } };
  },
  computed: {
    acting() { return this.rows.some((r) => r.actions && r.actions.length); },
    matching() {
      const asked = this.query.trim().toLowerCase();
      const texts = (r) => this.columns.map((c) => this.cell(r, c).t + " " + (this.cell(r, c).s || "")).join(" ");
      const rows = asked ? this.rows.filter((r) => texts(r).toLowerCase().includes(asked)) : this.rows.slice();
      const { key, down } = this.order;
      if (!key) return rows;
      const value = (r) => {
        const c = this.cell(r, { key });
        return c.v !== undefined ? c.v : c.t;
      };
      const unknown = (v) => v === undefined || v === null || v === "–";
      return rows.sort((a, b) => {
        const x = value(a), y = value(b);
        // What is not known stands last, whichever way the rest is turned.
        if (unknown(x) || unknown(y)) return unknown(x) - unknown(y);
        const d = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
        return down ? -d : d;
      });
    },
    shown() { return this.matching.slice(0, this.limit); },
  },
  methods: {
    cell(row, column) {
      const c = row.cells[column.key];
      return c === undefined ? { t: "–" } : typeof c === "string" ? { t: c } : c;
    },
    sortBy(key) {
      if (this.order.key !== key) this.order = { key, down: false };
      else if (!this.order.down) this.order = { key, down: true };
      else this.order = { key: "", down: false };
    },
    go(to, event) {
      if (event.target.closest("a, button") || String(getSelection())) return;
      if (event.ctrlKey || event.metaKey) window.open(to, "_blank", "noopener");
      else window.location.href = to;
    },
  },
};
